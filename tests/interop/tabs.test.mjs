// Six tabs of one user at the session limit, and one change of network: the sockets of the clients are reset while the
// server's ends stay open. NODES has the ports of the nodes, which are reached in turn.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Client } from "@stomp/stompjs";
import { WebSocket as NodeWebSocket } from "ws";

import { NotifyClient } from "../../app/static/notify-client.js";

const NODES = process.env.NODES.split(",").map(Number);
const BEAT_MS = Number(process.env.HEARTBEAT_MS);
const TABS = 6;
const LIMIT_MS = 5_000; // from the change of network to the last tab's message
const PATIENCE_MS = 20_000;
const OFFLINE_MS = 300;

/** As in a browser: an error that has no handler is no exception. */
class WebSocket extends NodeWebSocket {
  constructor(...address) {
    super(...address);
    this.on("error", () => {});
  }
}

Object.assign(globalThis, { WebSocket }); // Node 20 has none

/** A TCP proxy, and the `online` event of a browser. */
class Network extends EventTarget {
  #connections = [];
  #orphans = [];
  #isOnline = true;
  #count = 0;
  #server = net.createServer((near) => this.#accept(near));

  async open() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
  }

  get url() {
    return `ws://127.0.0.1:${this.#server.address().port}/stomp-ws`;
  }

  #accept(near) {
    near.on("error", () => {});
    if (!this.#isOnline) return near.resetAndDestroy();
    const far = net.connect(NODES[this.#count++ % NODES.length], "127.0.0.1");
    far.on("error", () => near.destroy());
    near.pipe(far);
    far.pipe(near);
    this.#connections.push({ near, far });
  }

  /** Resets the near side of every connection, keeps the far side open, and refuses connections for a moment. */
  async change() {
    this.#isOnline = false;
    for (const { near, far } of this.#connections.splice(0)) {
      near.unpipe(far);
      far.unpipe(near);
      near.resetAndDestroy();
      this.#orphans.push(far);
    }
    await sleep(OFFLINE_MS);
    this.#isOnline = true;
    this.dispatchEvent(new Event("online"));
  }

  close() {
    for (const { near, far } of this.#connections) [near, far].forEach((socket) => socket.destroy());
    for (const far of this.#orphans) far.destroy();
    this.#server.close();
  }
}

/** Our client, with a client-id of its own. Nothing is acknowledged, so that the message waits for every tab. */
function ourTab(network, user, tab) {
  const client = new NotifyClient({
    url: network.url,
    token: user,
    network,
    autoAck: false,
    onMessage: ({ id }) => tab.ids.push(id),
    onStatus: (status) => tab.statuses.push(status),
  });
  client.connect();
  return { isConnected: () => client.connected, close: () => client.disconnect() };
}

/** A client without client-id, whose heart-beats are short. */
function theirTab(network, user, tab) {
  const client = new Client({
    webSocketFactory: () => new WebSocket(network.url, ["v12.stomp"]),
    connectHeaders: { Authorization: user },
    heartbeatOutgoing: BEAT_MS,
    heartbeatIncoming: 0,
    reconnectDelay: 200,
    onStompError: ({ headers }) => tab.statuses.push(headers.message),
    onConnect: () => client.subscribe("/user/queue/msg", ({ headers }) => tab.ids.push(headers["message-id"])),
  });
  client.activate();
  return { isConnected: () => client.connected, close: () => client.deactivate() };
}

async function until(isDone, explain) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await isDone())) {
    assert.ok(Date.now() < deadline, JSON.stringify(explain()));
    await sleep(10);
  }
}

async function request(path, options) {
  const response = await fetch(`http://127.0.0.1:${NODES[0]}${path}`, options);
  assert.ok(response.ok, `${path}: ${response.status}`);
  return response.json();
}

const push = async (user) => (await request(`/vh-stomp-wsend/push_all_obj/${user}`, { method: "POST", body: "hello" })).id;
const sessions = async (user) => (await request(`/api/sessions/${user}`)).items.length;

for (const [name, open, user] of [
  ["of our client", ourTab, "test-ours"],
  ["without client-id, with short heart-beats", theirTab, "test-theirs"],
]) {
  test(`six of six tabs ${name} receive after a change of network`, async () => {
    const network = new Network();
    await network.open();
    const tabs = Array.from({ length: TABS }, () => ({ ids: [], statuses: [] }));
    for (const tab of tabs) tab.client = open(network, user, tab);
    const have = (id) => () => tabs.every(({ ids }) => ids.includes(id));
    const explain = () => tabs.map(({ ids, statuses }) => ({ ids, statuses }));
    try {
      const before = await push(user);
      await until(have(before), explain);
      assert.equal(await sessions(user), TABS);

      const changed = Date.now();
      const [during] = await Promise.all([push(user), network.change()]);
      await until(have(during), explain);
      await until(() => tabs.every(({ client }) => client.isConnected()), explain);
      const after = await push(user);
      await until(have(after), explain);
      const elapsed = Date.now() - changed;

      assert.ok(elapsed < LIMIT_MS, `${elapsed} ms: ${JSON.stringify(explain())}`);
      await until(async () => (await sessions(user)) === TABS, explain);
    } finally {
      await Promise.all(tabs.map(({ client }) => client.close()));
      network.close();
    }
  });
}
