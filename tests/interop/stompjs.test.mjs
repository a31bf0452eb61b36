// @stomp/stompjs as it comes from its authors, against a running service. The environment says where that is.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Client, Versions } from "@stomp/stompjs";
import { WebSocket } from "ws";

const { STOMP_URL, HTTP_URL, HEARTBEAT_MS } = process.env;
const WAIT_MS = 5000;
const MESSAGES = "/user/queue/msg";

Object.assign(globalThis, { WebSocket });

class Queue {
  #items = [];
  #takers = [];

  put(item) {
    const taker = this.#takers.shift();
    if (taker) taker(item);
    else this.#items.push(item);
  }

  async take(what) {
    if (this.#items.length) return this.#items.shift();
    const item = new Promise((resolve) => this.#takers.push(resolve));
    const late = sleep(WAIT_MS, null, { ref: false }).then(() => assert.fail(`${what}: nothing in ${WAIT_MS} ms`));
    return Promise.race([item, late]);
  }

  get length() {
    return this.#items.length;
  }
}

/** A client of `user` whose events wait in queues; `options` are those of the library. */
function clientOf(user, options = {}) {
  const events = { connected: new Queue(), errors: new Queue(), closes: new Queue(), disconnected: new Queue() };
  const client = new Client({
    brokerURL: STOMP_URL,
    connectHeaders: { Authorization: `Bearer ${user}` },
    reconnectDelay: 0,
    ...options,
    onConnect: (frame) => events.connected.put(frame),
    onDisconnect: (frame) => events.disconnected.put(frame),
    onStompError: (frame) => events.errors.put(frame),
    onWebSocketClose: (event) => events.closes.put(event),
  });
  return { client, ...events };
}

/** Connected, runs `use(session)`, and disconnects with a receipt whatever happens. */
async function withSession(user, options, use) {
  const session = clientOf(user, options);
  session.client.activate();
  try {
    session.headers = (await session.connected.take("CONNECTED")).headers;
    await use(session);
  } finally {
    await session.client.deactivate();
  }
}

/** Resolves once the server has confirmed the subscription. */
async function subscribe({ client }, destination, headers = {}) {
  const received = new Queue();
  const confirmed = new Queue();
  const receipt = `receipt-${destination}`;
  client.watchForReceipt(receipt, (frame) => confirmed.put(frame));
  received.subscription = client.subscribe(destination, (message) => received.put(message), { ...headers, receipt });
  await confirmed.take("RECEIPT of SUBSCRIBE");
  return received;
}

async function request(path, options) {
  const response = await fetch(HTTP_URL + path, options);
  assert.ok(response.ok, `${path}: ${response.status}`);
  return response.status === 204 ? null : response.json();
}

const push = (user, body) => request(`/vh-stomp-wsend/push_all_obj/${user}`, { method: "POST", body });

async function becomes(id, status) {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const answer = await request(`/vh-stomp-wsend/push_status/${id}`);
    if (answer.status === status) return answer;
    assert.ok(Date.now() < deadline, `the message should be ${status}, it is ${JSON.stringify(answer)}`);
    await sleep(20);
  }
}

async function hasSessions(user, count) {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const { items } = await request(`/api/sessions/${user}`);
    if (items.length === count) return items;
    assert.ok(Date.now() < deadline, `${user} should have ${count} sessions, has ${items.length}`);
    await sleep(20);
  }
}

describe("stompjs", { concurrency: true }, () => {
  for (const version of ["1.0", "1.1", "1.2"]) {
    const options = { stompVersions: new Versions([version]) };

    test(`${version}: a push arrives, comes again until its ack, and no more`, async () => {
      const user = `test-push-${version}`;
      await withSession(user, options, async (session) => {
        assert.equal(session.client.connectedVersion, version);
        assert.equal(session.headers["user-name"], user);
        const received = await subscribe(session, MESSAGES, { ack: "client-individual" });

        const { id } = await push(user, "订单 ready: a\\b");

        const first = await received.take("MESSAGE");
        assert.equal(first.headers["message-id"], id);
        assert.equal(first.headers.redelivered, undefined);
        assert.equal(JSON.parse(first.body).data, "订单 ready: a\\b");
        const second = await received.take("the resend");
        assert.equal(second.headers["message-id"], id);
        assert.equal(second.headers.redelivered, "true");
        assert.equal(second.headers.attempt, "2");
        second.ack();
        const { sessions } = await becomes(id, "delivered");
        assert.deepEqual(sessions.map((one) => [one.session, one.attempts]), [[session.headers.session, 2]]);
        await sleep(1100);
        assert.equal(received.length, 0);
      });
    });

    test(`${version}: DISCONNECT is confirmed before the socket closes`, async () => {
      const user = `test-bye-${version}`;
      const session = clientOf(user, options);
      session.client.activate();
      await session.connected.take("CONNECTED");
      await hasSessions(user, 1);
      await session.client.deactivate();
      assert.ok((await session.disconnected.take("RECEIPT of DISCONNECT")).headers["receipt-id"]);
      assert.equal((await session.closes.take("close")).code, 1000);
      await hasSessions(user, 0);
    });

    test(`${version}: /app/ack acknowledges in auto mode`, async () => {
      const user = `test-app-ack-${version}`;
      await withSession(user, options, async (session) => {
        const received = await subscribe(session, MESSAGES);
        const { id } = await push(user, "hello");
        const message = await received.take("MESSAGE");
        session.client.publish({ destination: "/app/ack", body: message.headers["message-id"] });
        await becomes(id, "delivered");
      });
    });

    test(`${version}: a transaction is published by its commit`, async () => {
      await withSession(`test-tx-${version}`, options, async (session) => {
        const topic = `/topic/tx-${version}`;
        const received = await subscribe(session, topic);
        const aborted = session.client.begin();
        session.client.publish({ destination: topic, body: "never", headers: { transaction: aborted.id } });
        const committed = session.client.begin();
        for (const body of ["one", "two"]) {
          session.client.publish({ destination: topic, body, headers: { transaction: committed.id } });
        }
        session.client.publish({ destination: topic, body: "zero" });
        aborted.abort();
        committed.commit();
        const bodies = [];
        for (let count = 0; count < 3; count += 1) bodies.push((await received.take("MESSAGE")).body);
        assert.deepEqual(bodies, ["zero", "one", "two"]);
        assert.equal(received.length, 0);
      });
    });
  }

  for (const version of ["1.1", "1.2"]) {
    test(`${version}: NACK asks for the message again`, async () => {
      const user = `test-nack-${version}`;
      await withSession(user, { stompVersions: new Versions([version]) }, async (session) => {
        const received = await subscribe(session, MESSAGES, { ack: "client" });
        const { id } = await push(user, "hello");
        (await received.take("MESSAGE")).nack();
        const again = await received.take("the resend");
        assert.deepEqual([again.headers["message-id"], again.headers.redelivered], [id, "true"]);
        again.ack();
        await becomes(id, "delivered");
      });
    });
  }

  test("the highest version of both is chosen", async () => {
    await withSession("test-highest", {}, async ({ client }) => assert.equal(client.connectedVersion, "1.2"));
  });

  test("a wrong token is answered with ERROR and 4510", async () => {
    const session = clientOf("wrong");
    session.client.activate();
    const error = await session.errors.take("ERROR");
    assert.equal(error.headers.message, "The token is illegal");
    assert.equal((await session.closes.take("close")).code, 4510);
    await session.client.deactivate();
  });

  test("a broken connection comes back by itself, and what was not acknowledged comes again", async () => {
    const user = "test-broken";
    await withSession(user, { reconnectDelay: 50 }, async (session) => {
      const received = await subscribe(session, MESSAGES, { ack: "client-individual" });
      const { id } = await push(user, "hello");
      await received.take("MESSAGE");

      session.client.webSocket.terminate();

      await session.connected.take("CONNECTED again");
      const after = await subscribe(session, MESSAGES, { ack: "client-individual" });
      const again = await after.take("the message after the reconnect");
      assert.deepEqual([again.headers["message-id"], again.headers.redelivered], [id, "true"]);
      again.ack();
      await becomes(id, "delivered");
    });
  });

  test("frames in pieces of 8 KB and as binary messages are put together", async () => {
    for (const options of [{ splitLargeFrames: true }, { forceBinaryWSFrames: true }]) {
      await withSession("test-large", options, async (session) => {
        const topic = `/topic/large-${Object.keys(options)}`;
        const received = await subscribe(session, topic);
        const body = "ä€😀".repeat(12_000);
        session.client.publish({ destination: topic, body });
        assert.equal((await received.take("MESSAGE")).body, body);
      });
    }
  });

  test("bytes that are no text go through unchanged", async () => {
    await withSession("test-binary", {}, async (session) => {
      const received = await subscribe(session, "/topic/binary");
      const binaryBody = Uint8Array.from({ length: 256 }, (_, index) => index);
      session.client.publish({ destination: "/topic/binary", binaryBody });
      const message = await received.take("MESSAGE");
      assert.deepEqual([...message.binaryBody], [...binaryBody]);
      assert.equal(message.headers["content-type"], "application/octet-stream");
    });
  });

  test("unsubscribe ends the messages, and they wait", async () => {
    const user = "test-unsubscribe";
    await withSession(user, {}, async (session) => {
      const received = await subscribe(session, MESSAGES);
      received.subscription.unsubscribe({ receipt: "unsubscribed" });
      const confirmed = new Queue();
      session.client.watchForReceipt("unsubscribed", (frame) => confirmed.put(frame));
      await confirmed.take("RECEIPT of UNSUBSCRIBE");
      const { id, status } = await push(user, "hello");
      assert.equal(status, "stored");
      const again = await subscribe(session, MESSAGES);
      assert.equal((await again.take("MESSAGE")).headers["message-id"], id);
      assert.equal(received.length, 0);
      session.client.publish({ destination: "/app/ack", body: id });
      await becomes(id, "delivered");
    });
  });

  test("heart-beats keep a silent connection open in both directions", async () => {
    const interval = Number(HEARTBEAT_MS);
    const options = { heartbeatIncoming: interval, heartbeatOutgoing: interval };
    await withSession("test-silent", options, async (session) => {
      await sleep(3.6 * interval); // the server hangs up after 3 silent intervals, the client after 2
      assert.equal(session.closes.length, 0);
      const { items } = await request("/api/sessions/test-silent");
      assert.deepEqual(items.map((item) => item.session), [session.headers.session]);
    });
  });

  test("a kick ends the session with 4503", async () => {
    await withSession("test-kick", {}, async (session) => {
      await request(`/api/sessions/${session.headers.session}`, { method: "DELETE" });
      assert.equal((await session.closes.take("close")).code, 4503);
    });
  });
});
