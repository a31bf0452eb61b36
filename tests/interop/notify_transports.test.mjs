// The transports of the browser client against a fake network: node --test tests/interop/notify_transports.test.mjs
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { fallingBack, TRANSPORTS } from "../../app/static/notify-transports.js";

const settle = async () => {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

/** A network whose answers are in the hands of the test. */
function world({ transports = TRANSPORTS } = {}) {
  const it = { sockets: [], requests: [], events: [], timers: [] };
  class FakeWebSocket {
    closed = false;
    constructor(url) {
      this.url = url;
      it.sockets.push(this);
    }
    close() {
      this.closed = true;
    }
  }
  const fetch = (url, { body, signal }) =>
    new Promise((resolve, reject) => {
      let controller;
      const stream = new ReadableStream({ start: (given) => (controller = given) });
      const request = {
        path: url.split("/").at(-1),
        session: url.split("/").at(-2),
        body: body && JSON.parse(body),
        aborted: false,
        answer: (status = 200) => resolve(new Response(status === 204 ? null : stream, { status })),
        write: (text) => controller.enqueue(new TextEncoder().encode(text)),
        end: () => controller.close(),
        fail: () => reject(new TypeError("network")),
      };
      signal.addEventListener("abort", () => {
        request.aborted = true;
        reject(new DOMException("aborted", "AbortError"));
      });
      it.requests.push(request);
    });
  const clock = {
    setTimeout: (call) => it.timers.push(call) - 1,
    clearTimeout: (index) => index !== null && (it.timers[index] = null),
  };
  const open = fallingBack();
  it.open = () =>
    open(
      { url: "http://push.test/stomp-ws", WebSocket: FakeWebSocket, fetch, clock, transports },
      {
        onOpen: () => it.events.push("open"),
        onData: (data) => it.events.push(data),
        onClose: (code, reason) => it.events.push([code, reason]),
      },
    );
  it.expire = async () => {
    for (const timer of it.timers.splice(0)) timer?.();
    await settle();
  };
  return it;
}

async function streaming(options = { transports: ["xhr-streaming"] }) {
  const it = world(options);
  it.transport = it.open();
  it.requests[0].answer();
  it.requests[0].write(`${"h".repeat(2048)}\no\n`);
  await settle();
  return it;
}

describe("falling back", () => {
  test("WebSocket is first, and all there is if it opens", async () => {
    const it = world();
    const transport = it.open();
    assert.equal(it.sockets[0].url, "ws://push.test/stomp-ws");
    it.sockets[0].onopen();
    await it.expire();
    it.sockets[0].onmessage({ data: "x" });
    it.sockets[0].onclose({ code: 1012, reason: "restart" });
    assert.deepEqual([transport.name, it.events, it.requests.length], ["websocket", ["open", "x", [1012, "restart"]], 0]);
  });

  test("a WebSocket that is refused is followed by xhr-streaming at once", async () => {
    const it = world();
    const transport = it.open();
    it.sockets[0].onclose({ code: 1006, reason: "" });
    assert.deepEqual([it.requests[0].path, transport.name], ["xhr_streaming", "xhr-streaming"]);
    it.requests[0].answer();
    it.requests[0].write("o\n");
    await settle();
    assert.deepEqual(it.events, ["open"]);
  });

  test("a WebSocket that stays silent is given up, and left out the next time", async () => {
    const it = world();
    it.open();
    await it.expire();
    assert.equal(it.sockets[0].closed, true);
    it.sockets[0].onopen?.(); // too late
    assert.deepEqual(it.events, []);
    it.open();
    assert.equal(it.sockets.length, 1);
  });

  test("a stream that is kept back by a proxy is followed by polling", async () => {
    const it = world({ transports: ["xhr-streaming", "xhr-polling"] });
    const transport = it.open();
    it.requests[0].answer();
    await it.expire();
    assert.equal(it.requests[0].aborted, true);
    assert.deepEqual([it.requests[1].path, transport.name], ["xhr", "xhr-polling"]);
  });

  test("where nothing works that is told once", async () => {
    const it = world();
    it.open();
    it.sockets[0].onclose({ code: 1006, reason: "" });
    it.requests[0].answer(503);
    await settle();
    it.requests[1].fail();
    await settle();
    assert.equal(it.events.length, 1);
    assert.equal(it.events[0][0], 1006);
  });
});

describe("SockJS over HTTP", () => {
  test("frames may come cut anywhere", async () => {
    const it = await streaming();
    for (const char of 'a["ü\\n","b"]\nh\na["c"]\n') it.requests[0].write(char);
    await settle();
    assert.deepEqual(it.events, ["open", "ü\n", "b", "c"]);
  });

  test("a response that ends is followed by the next, of the same session", async () => {
    const it = await streaming();
    it.requests[0].end();
    await settle();
    assert.equal(it.requests.length, 2);
    assert.equal(it.requests[1].session, it.requests[0].session);
    it.requests[1].answer();
    it.requests[1].write('a["x"]\n');
    await settle();
    assert.deepEqual(it.events, ["open", "x"]);
  });

  test("one request sends at a time, and what comes meanwhile goes together", async () => {
    const it = await streaming();
    for (const text of ["a", "b", "c"]) it.transport.send(text);
    assert.deepEqual(it.requests.slice(1).map(({ path, body }) => [path, body]), [["xhr_send", ["a"]]]);
    it.requests[1].answer(204);
    await settle();
    assert.deepEqual(it.requests[2].body, ["b", "c"]);
  });

  test("the close frame says why", async () => {
    const it = await streaming();
    it.requests[0].write('c[4510,"bad token"]\n');
    await settle();
    assert.deepEqual(it.events.at(-1), [4510, "bad token"]);
    assert.equal(it.requests[0].aborted, true);
  });

  for (const status of [404, 500]) {
    test(`a session that answers ${status} is lost`, async () => {
      const it = await streaming();
      it.transport.send("a");
      it.requests[1].answer(status);
      await settle();
      assert.equal(it.events.at(-1)[0], 1006);
    });
  }

  test("closing waits for what is under way and then says no more", async () => {
    const it = await streaming();
    it.transport.send("DISCONNECT");
    it.transport.close(1000);
    assert.equal(it.requests[0].aborted, false);
    it.requests[1].answer(204);
    await settle();
    assert.equal(it.requests[0].aborted, true);
    assert.deepEqual(it.events, ["open"]);
  });
});
