// Performs the plan of tests/interop/pushes.py with Node's fetch and with undici.

import { readFileSync } from "node:fs";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { Agent, request } from "undici";

const PAUSE_MS = 10;
const [base, plan] = process.argv.slice(2);
const agent = new Agent();

async function* slowly(parts) {
  for (const [number, part] of parts.entries()) {
    if (number > 0) await sleep(PAUSE_MS);
    yield part;
  }
}

async function byFetch(method, path, headers, parts) {
  const body = parts.length > 1 ? slowly(parts) : parts[0];
  const response = await fetch(base + path, { method, headers, body, duplex: "half" });
  return { status: response.status, body: Buffer.from(await response.arrayBuffer()) };
}

async function byUndici(method, path, headers, parts) {
  const body = parts.length > 1 ? slowly(parts) : parts[0];
  const response = await request(base + path, { method, headers, body, dispatcher: agent });
  return { status: response.statusCode, body: Buffer.from(await response.body.arrayBuffer()) };
}

const told = ({ status, body }) => `${status}\t${body.toString("base64")}`;

for (const line of readFileSync(plan, "utf8").trimEnd().split("\n")) {
  const [mode, path, type, ...encoded] = line.split("\t");
  const parts = encoded.map((part) => Buffer.from(part, "base64"));
  const send = mode.startsWith("fetch") ? byFetch : byUndici;
  const headers = { "content-type": type };
  if (mode.endsWith("-halves")) headers["content-length"] = `${Buffer.concat(parts).length}`;
  const posted = await send("POST", path, headers, parts);
  await turn(); // the pool has the connection back
  const next = await send("GET", "/healthz", {}, []);
  await turn();
  console.log(`${told(posted)}\t${told(next)}`);
}
await agent.close();
