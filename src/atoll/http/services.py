"""All that the front end talks to, made by bootstrap."""

from dataclasses import dataclass

from atoll.core.store import Store
from atoll.service.audit import Audit
from atoll.service.backends import Backends
from atoll.service.clock import Clock
from atoll.service.executions import Executions
from atoll.service.files import FilesOf
from atoll.service.images import ImagesOf
from atoll.service.janitor import Janitor
from atoll.service.keeper import Keeper
from atoll.service.keys import Keys
from atoll.service.languages import Languages
from atoll.service.networks import Networks
from atoll.service.pool import Pool
from atoll.service.ports import Ports
from atoll.service.processes import Processes
from atoll.service.quotas import Quotas
from atoll.service.sandboxes import Sandboxes
from atoll.service.scripts import Scripts
from atoll.service.snapshots import Snapshots


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The use cases and what they share. Open for as long as bootstrap's block."""

    executions: Executions
    sandboxes: Sandboxes
    processes: Processes
    scripts: Scripts
    files: FilesOf
    ports: Ports
    images: ImagesOf
    networks: Networks
    snapshots: Snapshots
    languages: Languages
    backends: Backends
    keys: Keys
    audit: Audit
    quotas: Quotas
    pool: Pool
    keeper: Keeper
    janitor: Janitor
    store: Store
    clock: Clock
