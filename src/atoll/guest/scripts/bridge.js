// In a VM with peers: takes calls on the loopback, and hands them to the server on standard output.
//
// A line of JSON each: first {"port"}, then {"id","authorization","body"} for each call, whose
// answer comes as {"id","status","body"} on standard input.
const LONGEST = 1024 * 1024;
const WAITING = 64;
const encoder = new TextEncoder();
const pending = new Map();
let last = 0;

function tell(message) {
  const line = encoder.encode(JSON.stringify(message) + "\n");
  for (let at = 0; at < line.length;) at += Deno.stdout.writeSync(line.subarray(at));
}

function answer(status, message) {
  return Response.json({ message }, { status });
}

async function take(request) {
  if (new URL(request.url).pathname !== "/internal/v1/peer/invoke") return answer(404, "Not Found");
  if (request.method !== "POST") return answer(405, "Method Not Allowed");
  const body = await request.text();
  if (body.length > LONGEST) return answer(413, "Body too large");
  if (pending.size >= WAITING) return answer(429, "Too many calls at once");
  const id = ++last;
  const come = new Promise((resolve) => pending.set(id, resolve));
  tell({ id, authorization: request.headers.get("authorization") ?? "", body });
  const { status, body: text } = await come;
  return new Response(text, { status, headers: { "content-type": "application/json" } });
}

Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: ({ port }) => tell({ port }) }, take);

let held = "";
for await (const piece of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
  const lines = (held + piece).split("\n");
  held = lines.pop();
  for (const line of lines) {
    const message = JSON.parse(line);
    pending.get(message.id)?.(message);
    pending.delete(message.id);
  }
}
Deno.exit(0);
