"""What this dialect does of run-dat-sheesh's API, line by line."""

from atoll.http.parity import Line, Parity, beyond, partial

PARITY = Parity(
    {
        "Server and conventions": (
            Line("port", "Port 3000 on 127.0.0.1", "`--dialect run-dat-sheesh`"),
            Line("auth.key", "`X-API-Key`, else 401 `Unauthorized`", "The option `api_key`."),
            Line("auth.db-key", "Keys of the admin: `rds_<12 hex>_<secret>`"),
            Line(
                "auth.session",
                "`/auth/login`, `/auth/logout`, `/auth/me`, the cookie `rds_session`",
                "Without `admin_password` the server's own admin password counts.",
            ),
            Line("auth.order", "Bodies are checked before keys"),
            beyond("auth.native", "Atoll's keys, and none on this machine, without `api_key`"),
            Line("errors.validation", "Schema errors in AJV's sentences, the first one"),
            Line("coercion", "Numbers as text; unknown fields are dropped"),
            Line("not-found", "404 `Not Found`, `VM not found`, `VM … not found`; `Invalid VM id`"),
            Line("body-limits", "413 `Body too large`, by route"),
            Line("rates", "429, by address and minute", "The option `rate_limits`."),
            Line("openapi", "`/openapi.json`, `/swagger/json`, `/swagger/openapi.json`"),
            Line("pages", "`/`, `/docs`, `/swagger`"),
            Line("curl", "The document's examples, as they are", "With `legacy_home_paths`."),
        ),
        "VMs": (
            Line("vm.create", "`POST /v1/vms`; it runs when this answers"),
            Line("vm.create.errors", "400, 404 in their texts"),
            Line("vm.secret-key", "500 for `secretEnv` without a key", "`vm_secret_key`"),
            Line("vm.quota", "429 `VM quota exceeded (maxVms=…)`"),
            Line("vm.list", "`GET /v1/vms`"),
            Line("vm.get", "`GET /v1/vms/{id}`"),
            Line("vm.delete", "`DELETE /v1/vms/{id}`"),
            partial(
                "vm.start-stop",
                "`POST …/start`, `…/stop`; files stay",
                "What is asked of a stopped VM is 409 and says so, where run-dat-sheesh has 5xx.",
            ),
            Line(
                "vm.restart",
                "After a restart each VM is as its client left it",
                "Its processes have ended; it starts when it is used.",
            ),
            partial(
                "vm.network",
                "`allowIps`, `outboundInternet`, `guestIp`",
                "As far as `network_modes` and the host let a sandbox have a network; what it has "
                "got is in the answer. `network_alias` makes 172.16.0.1 the host.",
            ),
            Line("vm.inside", "uid 1000, /workspace, private /tmp, git, bash, node, npm, deno, …"),
        ),
        "Commands and programs": (
            Line("exec", "`POST …/exec`"),
            Line("exec.cwd", "A directory that is none is /workspace"),
            Line("exec.env", "`env`, and run-dat-sheesh's own"),
            Line("exec.timeout", "`timeoutMs`: -1 and `Timeout exceeded`"),
            Line("exec.caps", "1 MB kept of each channel; the command goes on"),
            Line("run-ts", "`POST …/run-ts`"),
            Line("run-ts.permissions", "deno's permissions; `env` opens its own names only"),
            Line("run-ts.result", "`result.set` of any JSON", "Arrays, texts, numbers too."),
            Line("run-ts.error", "`result.error`, and what nobody catches"),
            Line("run-ts.exit", "`Deno.exit`, `process.exit`: that code, no result"),
            Line("run-js", "`POST …/run-js`"),
            Line("run.path", "`path`; its directory is the working directory"),
            Line("run.args", "`args`, `denoFlags`, `nodeFlags`"),
            Line("run.limits", "Refused paths, names, times"),
            beyond("run.warm", "Interpreters that have started wait for the next program"),
        ),
        "Files and logs": (
            Line("upload", "`POST …/files/upload?dest=`", "All of it or nothing."),
            Line("upload.rules", "Links, devices, traversal, 10,000 entries, 10 and 50 MiB"),
            Line("download", "`GET …/files/download?path=`, `tar.gz`"),
            Line("download.rules", "400 `Invalid download path`; 50 MB"),
            Line("home-paths", "/home/user", "With the option `legacy_home_paths`."),
            partial(
                "logs",
                "`GET …/logs`",
                "firecracker.log has the events of the sandbox, the others what programs printed.",
            ),
            Line("exec-logs", "`GET …/exec-logs`", "The newest 500; 64 KiB of each text."),
        ),
        "Snapshots and images": (
            partial(
                "snapshots",
                "`POST …/snapshots`, `GET /v1/snapshots`",
                "409 while processes run in the background: memory is not in a snapshot.",
            ),
            Line("snapshots.restore", "`userOverlaySnapshotId`, `snapshotId`"),
            Line("snapshots.seed", "An `image_seed` of each image that is used"),
            Line("images", "`GET`, `POST /v1/images`"),
            partial(
                "images.rootfs",
                "`PUT …/rootfs`, `…/kernel`",
                "An ext4 image or a tar. The kernel is kept; sandboxes share the host's.",
            ),
            Line("images.bundle", "`PUT …/bundle`: both in a zip"),
            Line("images.default", "`POST …/set-default`"),
            Line("images.delete", "`DELETE`; 409 while it is in use"),
        ),
        "Peers": (
            Line("peers.create", "`peerLinks`, hidden and mounted"),
            Line("peers.files", "/workspace/peers: index, manifest, README, proxy, source"),
            Line("peers.call", "Proxies call the provider, without a network"),
            Line("peers.bridge", "`POST /internal/v1/peer/invoke`: 401, 403, 409, 502"),
            Line("peers.sync", "`POST …/peers/sync`, `PATCH …/peers/{alias}`"),
            Line("peers.errors", "400 `Peer alias …`"),
        ),
        "Admin": (
            Line("admin.overview", "`GET /v1/admin/overview`"),
            Line("admin.activity", "`GET /v1/admin/activity`", "The newest 10,000 are kept."),
            Line("admin.events", "`GET /v1/admin/events`, server-sent"),
            Line("admin.webhooks", "Webhooks: one try, 5 s"),
            Line("admin.keys", "API keys: made, listed, revoked"),
            Line("admin.cookie-only", "Events, webhooks and keys need the cookie"),
        ),
    }
)
