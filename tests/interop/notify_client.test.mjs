// The browser client against a fake WebSocket and a fake clock: node --test tests/interop/notify_client.test.mjs
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { encodeFrame, FrameParser, NotifyClient, TabIds } from "../../app/static/notify-client.js";

// ---------------------------------------------------------------------------------------------------------- fakes

class FakeClock {
  time = 1_000_000;
  #timers = new Map();
  #lastId = 0;

  now = () => this.time;
  setTimeout = (callback, ms) => {
    this.#lastId += 1;
    this.#timers.set(this.#lastId, { callback, due: this.time + ms });
    return this.#lastId;
  };
  clearTimeout = (id) => this.#timers.delete(id);

  get pending() {
    return this.#timers.size;
  }

  async advance(ms) {
    const end = this.time + ms;
    for (let next = this.#next(end); next; next = this.#next(end)) {
      const [id, { callback, due }] = next;
      this.#timers.delete(id);
      this.time = due;
      callback();
      await settle();
    }
    this.time = end;
  }

  #next(end) {
    const due = [...this.#timers].filter(([, timer]) => timer.due <= end);
    return due.sort(([, a], [, b]) => a.due - b.due)[0];
  }
}

class FakeNetwork {
  listeners = new Set();
  addEventListener = (type, listener) => type === "online" && this.listeners.add(listener);
  removeEventListener = (type, listener) => this.listeners.delete(listener);
  comeOnline = () => this.listeners.forEach((listener) => listener());
}

/** The window of a tab, as far as names of clients need it. */
class FakePage {
  #listeners = [];
  constructor(stored = {}) {
    this.stored = { ...stored };
    this.sessionStorage = {
      getItem: (key) => this.stored[key] ?? null,
      setItem: (key, value) => (this.stored[key] = String(value)),
      removeItem: (key) => delete this.stored[key],
    };
  }
  addEventListener = (type, listener) => this.#listeners.push([type, listener]);
  #fire = (type) => this.#listeners.forEach(([of, listener]) => of === type && listener());

  /** The next page in the tab. */
  navigate() {
    this.#fire("pagehide");
    return new FakePage(this.stored);
  }
  /** Back to this page, which was only put aside; `other` is the one that was shown in between. */
  comeBack(other) {
    this.stored = other.navigate().stored;
    this.#fire("pageshow");
  }
  /** Another tab that begins with a copy of this one. */
  duplicate = () => new FakePage(this.stored);
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

/** A world with one client: its sockets, what it was told, and a clock that stands still. */
function world(options = {}) {
  const seen = { sockets: [], statuses: [], messages: [], duplicates: [], errors: [], acks: [] };
  const clock = new FakeClock();
  const network = new FakeNetwork();
  class FakeWebSocket {
    sent = [];
    closedWith = null;
    constructor(url, protocols) {
      Object.assign(this, { url, protocols });
      seen.sockets.push(this);
    }
    send(text) {
      this.sent.push(text);
    }
    close(code) {
      assert.ok(code === 1000 || (code >= 3000 && code <= 4999), `a browser refuses close(${code})`);
      this.closedWith = code;
    }
  }
  const client = new NotifyClient({
    url: "http://push.example:2025/stomp-ws",
    token: "test1",
    WebSocket: FakeWebSocket,
    transports: ["websocket"],
    clock,
    network,
    random: () => 0.5,
    onStatus: (status) => seen.statuses.push(status),
    onMessage: (message, context) => seen.messages.push({ message, context }),
    onDuplicate: (message, context) => seen.duplicates.push({ message, context }),
    onError: (error) => seen.errors.push(error),
    onAck: (ids) => seen.acks.push(ids),
    ...options,
  });
  return { client, clock, network, ...seen, socket: () => seen.sockets.at(-1), status: () => seen.statuses.at(-1) };
}

async function connectedWorld(options) {
  const it = world(options);
  it.client.connect();
  await establish(it);
  return it;
}

async function establish(it, user = "test1") {
  await settle();
  it.socket().onopen();
  const session = `s${it.sockets.length}`;
  const headers = { version: "1.2", session, "user-name": user, "heart-beat": "10000,10000" };
  await receive(it, frame("CONNECTED", headers));
}

async function receive(it, data) {
  it.socket().onmessage({ data });
  await settle();
}

async function hangUp(it, code, reason = "") {
  it.socket().onclose({ code, reason });
  await settle();
}

function frame(command, headers, body = "") {
  if (command !== "CONNECTED") return encodeFrame(command, headers, body);
  return encodeFrame("CONNECT", headers, body).replace("CONNECT", command);
}

function notification(it, id, { headers = {}, destination = "/user/queue/msg", ...fields } = {}) {
  const message = { id, type: "STRING_MSG", receiver: "test1", data: "hello", viewed: false, created: 1, ...fields };
  const subscription = subscriptionTo(it, destination);
  return frame("MESSAGE", { subscription, "message-id": id, destination, ...headers }, JSON.stringify(message));
}

const sentFrames = (socket) => socket.sent.flatMap((text) => new FrameParser().push(text));
const sentOf = (it, command) => sentFrames(it.socket()).filter((sent) => sent.command === command);
const subscriptionTo = (it, destination) =>
  sentOf(it, "SUBSCRIBE").find((sent) => sent.headers.destination === destination)?.headers.id;
const ackBodies = (it) =>
  sentOf(it, "SEND").filter((sent) => sent.headers.destination === "/app/ack").map((sent) => sent.body);

// ---------------------------------------------------------------------------------------------------------- codec

describe("codec", () => {
  const parse = (...pieces) => {
    const parser = new FrameParser();
    return pieces.flatMap((piece) => parser.push(piece));
  };
  const bytes = (text) => new TextEncoder().encode(text);

  test("header escapes go out and come back", () => {
    const text = encodeFrame("SEND", { "a:b": "c\\d\ne\rf:g" }, "x");
    assert.ok(text.includes("a\\cb:c\\\\d\\ne\\rf\\cg\n"), text);
    assert.equal(parse(text)[0].headers["a:b"], "c\\d\ne\rf:g");
  });

  test("CONNECT is not escaped, so a token with a line break is refused", () => {
    assert.ok(encodeFrame("CONNECT", { Authorization: "Bearer a:b\\n" }).includes("\nAuthorization:Bearer a:b\\n\n"));
    assert.throws(() => encodeFrame("CONNECT", { Authorization: "a\nhost:evil" }), /cannot be sent/);
    assert.throws(() => encodeFrame("SEND", { destination: "a\0" }), /cannot be sent/);
  });

  test("CONNECTED is not unescaped", () => {
    assert.equal(parse("CONNECTED\nsession:a\\cb\n\n\0")[0].headers.session, "a\\cb");
  });

  test("an undefined escape sequence is fatal", () => {
    assert.throws(() => parse("MESSAGE\nfoo:a\\tb\n\n\0"), /undefined escape/);
    assert.throws(() => parse("MESSAGE\nfoo:a\\\n\n\0"), /undefined escape/);
  });

  test("content-length counts UTF-8 bytes, not characters", () => {
    const text = encodeFrame("SEND", {}, "héllo 🌍 中");
    assert.ok(text.includes("\ncontent-length:15\n"), text);
    assert.equal(parse(text)[0].body, "héllo 🌍 中");
  });

  test("a body with content-length may contain NUL, one without ends at it", () => {
    assert.equal(parse("MESSAGE\ncontent-length:3\n\na\0b\0")[0].body, "a\0b");
    assert.deepEqual(parse("MESSAGE\n\na\0MESSAGE\n\nb\0").map((each) => each.body), ["a", "b"]);
  });

  test("content-length that does not end at a NUL, or is no number, is fatal", () => {
    assert.throws(() => parse("MESSAGE\ncontent-length:1\n\nab\0"), /no NUL/);
    assert.throws(() => parse("MESSAGE\ncontent-length:1e3\n\nab\0"), /content-length/);
    assert.throws(() => parse("MESSAGE\ncontent-length:99999999999\n\n"), /content-length/);
  });

  test("a frame may come cut at any byte", () => {
    const whole = bytes(`\n${encodeFrame("MESSAGE", { "x:y": "1\n2" }, "é🌍\0中")}\n`);
    for (let cut = 0; cut <= whole.length; cut += 1) {
      const [only, ...rest] = parse(whole.slice(0, cut), whole.slice(cut).buffer);
      assert.equal(only?.body, "é🌍\0中", `cut at ${cut}`);
      assert.equal(only.headers["x:y"], "1\n2");
      assert.equal(rest.length, 0);
    }
  });

  test("one WebSocket message may hold several frames and heart-beats, with CR LF too", () => {
    const frames = parse("\n\r\nMESSAGE\r\na:1\r\n\r\nx\0\n\nRECEIPT\nreceipt-id:7\n\n\0\n");
    assert.deepEqual(frames.map((each) => [each.command, each.body]), [["MESSAGE", "x"], ["RECEIPT", ""]]);
    assert.deepEqual({ ...frames[0].headers }, { a: "1" });
  });

  test("of a repeated header the first counts, and names of Object.prototype are only names", () => {
    const { headers } = parse("MESSAGE\na:1\na:2\n__proto__:x\nconstructor:y\n\n\0")[0];
    assert.deepEqual([headers.a, headers["__proto__"], headers.constructor], ["1", "x", "y"]);
  });

  test("a byte order mark in a body stays", () => {
    assert.equal(parse(encodeFrame("MESSAGE", {}, "\uFEFFx"))[0].body, "\uFEFFx");
  });

  test("a frame without an end is given up at 8 MiB", () => {
    const parser = new FrameParser();
    const mebibyte = new Uint8Array(1024 * 1024).fill(65);
    parser.push("MESSAGE\n\n");
    assert.throws(() => {
      for (let i = 0; i < 9; i += 1) parser.push(mebibyte);
    }, /too large/);
  });
});

// ------------------------------------------------------------------------------------------------------ connecting

describe("connecting", () => {
  test("CONNECT and the subscriptions are as the contract says", async () => {
    const it = await connectedWorld({ topics: ["/topic/messages"], clientId: "desk" });
    assert.equal(it.socket().url, "ws://push.example:2025/stomp-ws");
    assert.deepEqual([it.socket().protocols, it.socket().binaryType], [["v12.stomp"], "arraybuffer"]);
    assert.deepEqual({ ...sentOf(it, "CONNECT")[0].headers }, {
      "accept-version": "1.2",
      host: "push.example",
      "heart-beat": "10000,10000",
      "client-id": "desk",
      Authorization: "Bearer test1",
    });
    const destinations = sentOf(it, "SUBSCRIBE").map((sent) => [sent.headers.destination, sent.headers.ack]);
    assert.deepEqual(destinations, [
      ["/user/queue/errors", "auto"],
      ["/topic/messages", "auto"],
      ["/user/queue/msg", "auto"],
    ]);
    assert.deepEqual(it.statuses, [
      { state: "connecting" },
      { state: "connected", session: "s1", user: "test1", transport: "websocket" },
    ]);
  });

  test("https becomes wss", async () => {
    const it = world({ url: "https://push.example/stomp-ws" });
    it.client.connect();
    await settle();
    assert.equal(it.socket().url, "wss://push.example/stomp-ws");
  });

  test("a token function is asked before every attempt", async () => {
    let asked = 0;
    const it = await connectedWorld({ token: async () => `test${(asked += 1)}` });
    await hangUp(it, 1006);
    await it.clock.advance(250);
    await establish(it);
    assert.equal(sentOf(it, "CONNECT")[0].headers.Authorization, "Bearer test2");
  });

  test("a token function that fails is tried again after a while", async () => {
    const it = world({ token: () => Promise.reject(new Error("login service is down")) });
    it.client.connect();
    await settle();
    assert.equal(it.sockets.length, 0);
    assert.match(it.errors[0].detail, /login service is down/);
    assert.deepEqual([it.status().state, it.status().code, it.status().retryInMs], ["waiting", null, 250]);
  });

  test("a token function that throws at once fails the attempt, not connect()", async () => {
    const it = world({ token: () => { throw new Error("not logged in"); } });
    it.client.connect();
    await settle();
    assert.deepEqual(it.statuses.map((status) => status.state), ["connecting", "waiting"]);
  });

  test("disconnect() in onError is the last word", async () => {
    const it = await connectedWorld({ onError: () => it.client.disconnect() });
    await receive(it, "MESSAGE\nbad:\\q\n\n\0");
    assert.equal(it.status().state, "closed");
    assert.equal(it.clock.pending, 0);
  });

  test("disconnect() in onMessage ends what came in the same WebSocket message", async () => {
    const it = await connectedWorld({
      onMessage: (message) => {
        it.messages.push(message.id);
        it.client.disconnect();
      },
    });
    await receive(it, notification(it, "a") + notification(it, "b"));
    assert.deepEqual(it.messages, ["a"]);
  });

  test("a token that cannot be sent opens no socket", async () => {
    const it = world({ token: "test1\nhost:evil" });
    it.client.connect();
    await settle();
    assert.equal(it.sockets.length, 0);
    assert.equal(it.status().state, "waiting");
  });

  test("connect() twice is connect() once, while connected and while waiting", async () => {
    const it = await connectedWorld();
    it.client.connect();
    await hangUp(it, 1006);
    it.client.connect();
    await settle();
    assert.equal(it.sockets.length, 1);
    assert.equal(it.status().state, "waiting");
  });

  test("a second CONNECTED changes nothing", async () => {
    const it = await connectedWorld();
    await receive(it, frame("CONNECTED", { session: "other", "user-name": "other" }));
    assert.equal(sentOf(it, "SUBSCRIBE").length, 2);
    assert.equal(it.status().session, "s1");
  });

  test("an attempt that hangs ends after ten seconds, with the token or with the socket", async () => {
    const it = world();
    it.client.connect();
    await settle();
    await it.clock.advance(9_999);
    assert.equal(it.status().state, "connecting");
    await it.clock.advance(1);
    assert.deepEqual([it.status().state, it.status().code], ["waiting", 3008]);
    assert.equal(it.socket().closedWith, 3008);

    const tokenless = world({ token: () => new Promise(() => {}) });
    tokenless.client.connect();
    await tokenless.clock.advance(10_000);
    assert.equal(tokenless.status().code, 3008);
  });

  test("subscriptions come back after a reconnect, ended ones do not", async () => {
    const it = await connectedWorld();
    const end = it.client.subscribe("/topic/a");
    it.client.subscribe("/topic/b");
    end();
    assert.equal(sentOf(it, "UNSUBSCRIBE")[0].headers.id, subscriptionTo(it, "/topic/a"));
    await hangUp(it, 1012);
    await it.clock.advance(250);
    await establish(it);
    const destinations = sentOf(it, "SUBSCRIBE").map((sent) => sent.headers.destination);
    assert.deepEqual(destinations.sort(), ["/topic/b", "/user/queue/errors", "/user/queue/msg"]);
  });

  test("disconnect says DISCONNECT, closes with 1000 and stays away", async () => {
    const it = await connectedWorld();
    it.client.disconnect();
    assert.equal(sentFrames(it.socket()).at(-1).command, "DISCONNECT");
    assert.equal(it.socket().closedWith, 1000);
    assert.deepEqual([it.status().state, it.status().code], ["closed", 1000]);
    it.network.comeOnline();
    await it.clock.advance(120_000);
    assert.equal(it.sockets.length, 1);
    assert.deepEqual([it.clock.pending, it.network.listeners.size], [0, 0], "no timer, no listener is left behind");
    assert.equal(it.client.send("/app/sendMessage", "x"), false);
  });
});

// ---------------------------------------------------------------------------------------------------------- names

describe("the name of a client", () => {
  const nameOf = (it) => sentOf(it, "CONNECT")[0].headers["client-id"];
  const nameAt = async (page) => nameOf(await connectedWorld({ tabIds: new TabIds(page) }));

  test("is the same after a reconnect and a reload, and another in each tab", async () => {
    const page = new FakePage();
    const it = await connectedWorld({ tabIds: new TabIds(page) });
    const name = nameOf(it);
    assert.match(name, /^[!-~]{1,64}$/);
    await hangUp(it, 1006);
    await it.clock.advance(250);
    await establish(it);
    assert.equal(nameOf(it), name);
    const reloaded = page.navigate();
    assert.equal(await nameAt(reloaded), name);
    assert.equal(await nameAt(reloaded.navigate()), name);
    assert.notEqual(await nameAt(new FakePage()), name);
  });

  test("is not copied with the tab", async () => {
    const page = new FakePage();
    const name = await nameAt(page);
    const duplicate = page.duplicate();
    assert.notEqual(await nameAt(duplicate), name);
    const reloaded = page.navigate();
    assert.equal(await nameAt(reloaded), name);
    assert.notEqual(await nameAt(reloaded.duplicate()), name);
    assert.notEqual(await nameAt(duplicate.navigate()), name);
  });

  test("is not copied after the way back to a page either", async () => {
    const page = new FakePage();
    const name = await nameAt(page);
    const next = page.navigate();
    assert.equal(await nameAt(next), name);
    page.comeBack(next);
    assert.notEqual(await nameAt(page.duplicate()), name);
    assert.equal(await nameAt(page.navigate()), name);
  });

  test("is another for each client of a page, and all of them are kept", async () => {
    const page = new FakePage();
    const ids = new TabIds(page);
    const names = [ids.take(), ids.take()];
    assert.notEqual(names[0], names[1]);
    const next = new TabIds(page.navigate());
    assert.deepEqual([next.take(), next.take()], names);
    assert.ok(!names.includes(next.take()));
  });

  test("is given up by who was replaced, so that it is not taken back", async () => {
    const page = new FakePage();
    const it = await connectedWorld({ tabIds: new TabIds(page) });
    const name = nameOf(it);
    await hangUp(it, 4505, "replaced");
    assert.deepEqual([it.status().state, it.status().code, it.status().reason], ["closed", 4505, "replaced"]);
    await it.clock.advance(120_000);
    assert.equal(it.sockets.length, 1);
    it.client.connect();
    await establish(it);
    assert.notEqual(nameOf(it), name);
    assert.notEqual(await nameAt(page.navigate()), name);
  });

  test("may be the application's own, and stays its own", async () => {
    const it = await connectedWorld({ clientId: "installation-7", tabIds: null });
    await hangUp(it, 4505, "replaced");
    it.client.connect();
    await establish(it);
    assert.equal(nameOf(it), "installation-7");
  });

  for (const stored of ["nonsense", "7", '["", "a b", "é"]', `["${"x".repeat(65)}"]`]) {
    test(`is a new one where ${stored.slice(0, 20)} is stored`, async () => {
      assert.match(await nameAt(new FakePage({ "stomp-notify.client-ids": stored })), /^[0-9a-f]{32}$/);
    });
  }

  test("is there without a storage, too", async () => {
    const forbidding = {
      get sessionStorage() {
        throw new Error("SecurityError");
      },
      addEventListener: () => {},
    };
    for (const page of [{}, forbidding]) assert.match(await nameAt(page), /^[0-9a-f]{32}$/);
  });
});

// ---------------------------------------------------------------------------------------------------- reconnecting

describe("reconnecting", () => {
  test("the backoff doubles from 500 ms to 30 s under full jitter", async () => {
    const bounds = [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000];
    for (const random of [0, 0.5, 0.999]) {
      const it = world({ random: () => random });
      it.client.connect();
      const waits = [];
      for (const bound of bounds) {
        await settle();
        await hangUp(it, 1006);
        waits.push(it.status().retryInMs);
        await it.clock.advance(it.status().retryInMs);
      }
      assert.deepEqual(waits, bounds.map((bound) => Math.round(bound * random)));
    }
  });

  test("only a connection that was stable resets the backoff", async () => {
    const it = await connectedWorld();
    await hangUp(it, 1006);
    await it.clock.advance(250);
    await establish(it);
    await it.clock.advance(4_999);
    await hangUp(it, 1006);
    assert.equal(it.status().retryInMs, 500);
    await it.clock.advance(500);
    await establish(it);
    await it.clock.advance(5_000);
    await hangUp(it, 1006);
    assert.equal(it.status().retryInMs, 250);
  });

  for (const code of [4500, 4501, 4503, 4504, 4505, 4507, 4510]) {
    test(`${code} ends it for good`, async () => {
      const it = await connectedWorld();
      await receive(it, frame("ERROR", { message: "The token is illegal" }, "expired"));
      await hangUp(it, code, "bad or expired token");
      const error = { source: "server", message: "The token is illegal", detail: "expired" };
      assert.deepEqual(it.status(), { state: "closed", code, reason: "bad or expired token", error });
      assert.deepEqual(it.errors, [error]);
      it.network.comeOnline();
      await it.clock.advance(120_000);
      assert.equal(it.sockets.length, 1);
    });
  }

  for (const code of [1000, 1001, 1006, 1012, 4008, 4012, 4013, 4499]) {
    test(`${code} from the server is worth another attempt`, async () => {
      const it = await connectedWorld();
      await hangUp(it, code);
      assert.deepEqual([it.status().state, it.status().code], ["waiting", code]);
      await it.clock.advance(250);
      assert.equal(it.sockets.length, 2);
    });
  }

  test("coming online does not wait for the backoff", async () => {
    const it = await connectedWorld({ random: () => 0.999 });
    await hangUp(it, 1006);
    it.network.comeOnline();
    await settle();
    assert.equal(it.sockets.length, 2);
    await establish(it);
    it.network.comeOnline();
    await it.clock.advance(5_000);
    assert.equal(it.sockets.length, 2, "neither the old timer nor another event starts a second one");
  });

  test("after connect() on a client that has ended it starts again, with a fresh backoff", async () => {
    const it = await connectedWorld();
    await hangUp(it, 1006);
    await it.clock.advance(250);
    await hangUp(it, 4510);
    it.client.connect();
    await settle();
    assert.equal(it.sockets.length, 3);
    await hangUp(it, 1006);
    assert.equal(it.status().retryInMs, 250);
  });

  test("an ERROR that no close follows is closed by the client", async () => {
    const it = await connectedWorld();
    await receive(it, frame("ERROR", { message: "odd" }));
    await it.clock.advance(1_999);
    assert.equal(it.status().state, "connected");
    await it.clock.advance(1);
    assert.equal(it.status().state, "waiting");
  });

  test("what is not STOMP ends the connection and nothing else", async () => {
    const it = await connectedWorld();
    await receive(it, "MESSAGE\nbad:\\q\n\n\0");
    assert.deepEqual([it.status().state, it.status().code], ["waiting", 4002]);
    assert.equal(it.socket().closedWith, 4002);
    await it.clock.advance(250);
    await establish(it);
    assert.equal(it.status().state, "connected");
  });
});

// ----------------------------------------------------------------------------------------------------------- epochs

describe("a stale socket", () => {
  test("touches nothing, although its events were queued before it was closed", async () => {
    const it = await connectedWorld();
    const old = { ...it.socket() };
    await it.clock.advance(30_000); // heart-beat lost: closed by the client, its own close event never came
    await it.clock.advance(250);
    await establish(it);
    const before = it.statuses.length;
    const sentAlready = old.sent.length;
    old.onmessage({ data: notification(it, "ghost") });
    old.onmessage({ data: frame("ERROR", { message: "ghost" }) });
    old.onclose({ code: 4510, reason: "ghost" });
    old.onopen();
    await it.clock.advance(3_000);
    assert.equal(old.sent.length, sentAlready, "nothing is written to it");
    assert.deepEqual([it.messages.length, it.errors.length, it.statuses.length], [0, 0, before]);
    assert.equal(it.status().session, "s2");
    assert.equal(it.client.connected, true);
  });

  test("is not opened where the token comes after disconnect()", async () => {
    let giveToken;
    const it = world({ token: () => new Promise((resolve) => (giveToken = resolve)) });
    it.client.connect();
    it.client.disconnect();
    giveToken("test1");
    await settle();
    assert.equal(it.sockets.length, 0);
    assert.equal(it.status().state, "closed");
  });

  test("brings nothing back where the token fails after disconnect()", async () => {
    let refuse;
    const it = world({ token: () => new Promise((_, reject) => (refuse = reject)) });
    it.client.connect();
    it.client.disconnect();
    refuse(new Error("late"));
    await settle();
    assert.deepEqual([it.status().state, it.errors.length, it.clock.pending], ["closed", 0, 0]);
  });

  test("is silenced by disconnect() and connect() in one go", async () => {
    const it = await connectedWorld();
    const old = { ...it.socket() };
    it.client.disconnect();
    it.client.connect();
    old.onclose({ code: 1000, reason: "" });
    await establish(it);
    assert.deepEqual(it.statuses.map((status) => status.state), [
      "connecting",
      "connected",
      "closed",
      "connecting",
      "connected",
    ]);
  });
});

// ------------------------------------------------------------------------------------------------------ heart-beats

describe("heart-beats", () => {
  const beats = (it) => it.socket().sent.filter((text) => text === "\n").length;

  test("go out every ten seconds, by the clock alone", async () => {
    const it = await connectedWorld();
    await it.clock.advance(9_999);
    assert.equal(beats(it), 0);
    await it.clock.advance(10_001);
    assert.equal(beats(it), 2);
  });

  test("are not sent on top of other frames", async () => {
    const it = await connectedWorld();
    await it.clock.advance(9_000);
    it.client.send("/app/sendMessage", "x");
    await it.clock.advance(1_000);
    assert.equal(beats(it), 0);
  });

  test("answer what arrives where timers are throttled, as in a hidden tab", async () => {
    const it = await connectedWorld();
    const before = it.socket().sent.length;
    it.clock.time += 10_000; // time goes by, no timer fires
    await receive(it, "\n");
    assert.deepEqual(it.socket().sent.slice(before), ["\n"]);
  });

  test("a server silent for three intervals is left", async () => {
    const it = await connectedWorld();
    await it.clock.advance(29_000);
    await receive(it, "\n");
    await it.clock.advance(29_999);
    assert.equal(it.status().state, "connected");
    await it.clock.advance(1);
    assert.deepEqual([it.status().state, it.status().code], ["waiting", 4012]);
    assert.equal(it.socket().closedWith, 4012);
    await it.clock.advance(250);
    assert.equal(it.sockets.length, 2);
  });

  test("are neither sent nor expected where the server wants none", async () => {
    const it = world();
    it.client.connect();
    await settle();
    it.socket().onopen();
    await receive(it, frame("CONNECTED", { version: "1.2", "heart-beat": "0,0" }));
    await it.clock.advance(120_000);
    assert.equal(it.status().state, "connected");
    assert.ok(!it.socket().sent.includes("\n"));
  });
});

// --------------------------------------------------------------------------------------------------------- messages

describe("messages", () => {
  test("are handed over with their context and acknowledged afterwards", async () => {
    let ackedDuring;
    const it = await connectedWorld({
      onMessage: (message, context) => {
        it.messages.push({ message, context });
        ackedDuring = ackBodies(it).length;
      },
    });
    await receive(it, notification(it, "ntf_1", { data: { text: "中" } }));
    const { ack, ...context } = it.messages[0].context;
    assert.deepEqual(it.messages[0].message.data, { text: "中" });
    assert.deepEqual(context, {
      id: "ntf_1",
      attempt: 1,
      redelivered: false,
      duplicate: false,
      destination: "/user/queue/msg",
    });
    assert.equal(typeof ack, "function");
    assert.equal(ackedDuring, 0);
    assert.deepEqual(ackBodies(it), ["ntf_1"]);
    assert.deepEqual(it.acks, [["ntf_1"]]);
  });

  test("may come in binary WebSocket messages", async () => {
    const it = await connectedWorld();
    await receive(it, new TextEncoder().encode(notification(it, "ntf_1")).buffer);
    assert.equal(it.messages.length, 1);
  });

  test("a resend is acknowledged again and not handed over again", async () => {
    const it = await connectedWorld();
    await receive(it, notification(it, "ntf_1"));
    await it.clock.advance(5_000);
    await receive(it, notification(it, "ntf_1", { headers: { redelivered: "true", attempt: "2" } }));
    assert.equal(it.messages.length, 1);
    const { attempt, redelivered, duplicate } = it.duplicates[0].context;
    assert.deepEqual({ attempt, redelivered, duplicate }, { attempt: 2, redelivered: true, duplicate: true });
    assert.deepEqual(ackBodies(it), ["ntf_1", "ntf_1"]);
  });

  test("a first sight of a resend is no duplicate", async () => {
    const it = await connectedWorld();
    await receive(it, notification(it, "ntf_1", { headers: { redelivered: "true", attempt: "3" } }));
    assert.equal(it.duplicates.length, 0);
    assert.equal(it.messages[0].context.attempt, 3);
  });

  for (const [how, fail] of [
    ["throws", () => { throw new Error("boom"); }],
    ["rejects", () => Promise.reject(new Error("boom"))],
  ]) {
    test(`a handler that ${how} leaves the message unacknowledged, and the resend counts as new`, async () => {
      let calls = 0;
      const it = await connectedWorld({ onMessage: () => ((calls += 1) === 1 ? fail() : undefined) });
      await receive(it, notification(it, "ntf_1"));
      assert.deepEqual(ackBodies(it), []);
      assert.deepEqual([it.errors[0].source, it.errors[0].detail], ["handler", "Error: boom"]);
      await receive(it, notification(it, "ntf_1", { headers: { redelivered: "true", attempt: "2" } }));
      assert.equal(calls, 2);
      assert.equal(it.duplicates.length, 0);
      assert.deepEqual(ackBodies(it), ["ntf_1"]);
    });
  }

  test("a resend while the handler still works is neither handed over nor acknowledged", async () => {
    let finish;
    const it = await connectedWorld({ onMessage: () => new Promise((resolve) => (finish = resolve)) });
    await receive(it, notification(it, "ntf_1"));
    await receive(it, notification(it, "ntf_1", { headers: { redelivered: "true", attempt: "2" } }));
    assert.deepEqual([ackBodies(it).length, it.duplicates.length], [0, 1]);
    finish();
    await settle();
    assert.deepEqual(ackBodies(it), ["ntf_1"]);
  });

  test("by hand: nothing is acknowledged before ack(), everything after", async () => {
    const it = await connectedWorld({ autoAck: false });
    await receive(it, notification(it, "ntf_1"));
    await receive(it, notification(it, "ntf_1", { headers: { redelivered: "true", attempt: "2" } }));
    assert.deepEqual([ackBodies(it).length, it.duplicates.length], [0, 1]);
    assert.equal(it.messages[0].context.ack(), true);
    await it.clock.advance(50);
    await receive(it, notification(it, "ntf_1", { headers: { redelivered: "true", attempt: "3" } }));
    assert.deepEqual(ackBodies(it), ["ntf_1", "ntf_1"]);
  });

  test("an ack without a session is made up for when the message comes again", async () => {
    const it = await connectedWorld({ autoAck: false });
    await receive(it, notification(it, "ntf_1"));
    await hangUp(it, 1006);
    assert.equal(it.client.ack(["ntf_1", "ntf_0"]), false);
    await it.clock.advance(250);
    await establish(it);
    assert.deepEqual(ackBodies(it), []);
    await receive(it, notification(it, "ntf_1", { headers: { redelivered: "true" } }));
    assert.deepEqual(ackBodies(it), ["ntf_1"]);
  });

  test("a message that waits for a hand is acknowledged on its resend where autoAck was switched on", async () => {
    const it = await connectedWorld({ autoAck: false });
    await receive(it, notification(it, "ntf_1"));
    it.client.autoAck = true;
    await receive(it, notification(it, "ntf_1", { headers: { redelivered: "true", attempt: "2" } }));
    assert.deepEqual(ackBodies(it), ["ntf_1"]);
  });

  test("a handler that acknowledges by itself is not doubled by autoAck", async () => {
    const it = await connectedWorld({ onMessage: (message, context) => context.ack() });
    await receive(it, notification(it, "ntf_1"));
    await it.clock.advance(100);
    assert.deepEqual(ackBodies(it), ["ntf_1"]);
  });

  test("acks that a lost connection held back are not sent on the next", async () => {
    const it = await connectedWorld({ random: () => 0 });
    await receive(it, notification(it, "a") + notification(it, "b"));
    await hangUp(it, 1006);
    await it.clock.advance(0);
    await establish(it);
    await receive(it, notification(it, "c"));
    assert.deepEqual(ackBodies(it), ["c"]);
  });

  test("a broadcast is handed over and needs no ack", async () => {
    const it = await connectedWorld();
    await receive(it, notification(it, "ntf_1", { receiver: null }));
    assert.equal(it.messages.length, 1);
    assert.equal(it.messages[0].context.ack(), false);
    assert.deepEqual(ackBodies(it), []);
  });

  test("acks of one moment share frames, whatever the ids look like", async () => {
    const it = await connectedWorld();
    const burst = Array.from({ length: 600 }, (_, n) => notification(it, `ntf_${n}`)).join("");
    await receive(it, burst);
    await it.clock.advance(200);
    const bodies = ackBodies(it);
    assert.deepEqual([bodies[0], JSON.parse(bodies[1]).length, JSON.parse(bodies[2]).length], ["ntf_0", 500, 99]);
    await receive(it, notification(it, '["x"]'));
    assert.equal(ackBodies(it).at(-1), '["[\\"x\\"]"]');
  });

  test("disconnect() sends the acks that wait", async () => {
    const it = await connectedWorld();
    await receive(it, notification(it, "a") + notification(it, "b") + notification(it, "c"));
    it.client.disconnect();
    assert.deepEqual(ackBodies(it), ["a", '["b","c"]']);
  });

  test("the memory of ids ends at a thousand", async () => {
    const it = await connectedWorld();
    for (let n = 0; n <= 1000; n += 1) await receive(it, notification(it, `ntf_${n}`));
    await receive(it, notification(it, "ntf_1"));
    assert.deepEqual([it.messages.length, it.duplicates.length], [1001, 1]);
    await receive(it, notification(it, "ntf_0"));
    assert.equal(it.messages.length, 1002);
  });

  test("another user's message with the same id is not a duplicate", async () => {
    const it = await connectedWorld();
    await receive(it, notification(it, "ntf_1"));
    await hangUp(it, 1006);
    await it.clock.advance(250);
    await establish(it, "test2");
    await receive(it, notification(it, "ntf_1", { receiver: "test2" }));
    assert.equal(it.messages.length, 2);
  });

  test("topics go to onMessage or to the handler of the subscription, free text too", async () => {
    const own = [];
    const it = await connectedWorld({ topics: ["/topic/news"] });
    it.client.subscribe("/topic/messages", (message, context) => own.push([message.data, context.destination]));
    await receive(it, notification(it, "t1", { destination: "/topic/news", receiver: null }));
    const headers = { "message-id": "t2", destination: "/topic/messages" };
    const subscription = subscriptionTo(it, "/topic/messages");
    await receive(it, frame("MESSAGE", { ...headers, subscription }, "7 o'clock"));
    assert.deepEqual(it.messages.map(({ context }) => context.destination), ["/topic/news"]);
    assert.deepEqual(own, [["7 o'clock", "/topic/messages"]]);
    assert.deepEqual(ackBodies(it), []);
  });

  test("what comes on /user/queue/errors is reported and ends nothing", async () => {
    const it = await connectedWorld();
    const subscription = subscriptionTo(it, "/user/queue/errors");
    const problem = JSON.stringify({ title: "Not allowed", detail: "not to /topic/x" });
    await receive(it, frame("MESSAGE", { subscription, "message-id": "1" }, problem));
    assert.deepEqual(it.errors, [{ source: "request", message: "Not allowed", detail: "not to /topic/x" }]);
    assert.equal(it.status().state, "connected");
  });

  test("send() takes text as it is and anything else as JSON", async () => {
    const it = await connectedWorld();
    assert.equal(it.client.send("/app/sendMessage", "grüß dich"), true);
    it.client.send("/app/sendMessage", { a: 1 });
    const sent = sentOf(it, "SEND").map(({ headers, body }) => [headers.destination, headers["content-type"], body]);
    assert.deepEqual(sent, [
      ["/app/sendMessage", "text/plain;charset=utf-8", "grüß dich"],
      ["/app/sendMessage", "application/json;charset=utf-8", '{"a":1}'],
    ]);
  });

  test("a callback that throws does not stop the client", async (t) => {
    t.mock.method(console, "error", () => {});
    const it = await connectedWorld({ onStatus: () => { throw new Error("page bug"); } });
    await hangUp(it, 1006);
    await it.clock.advance(250);
    await establish(it);
    await receive(it, notification(it, "ntf_1"));
    assert.deepEqual(ackBodies(it), ["ntf_1"]);
    assert.ok(console.error.mock.callCount() >= 4);
  });

  test("the trace shows frames both ways and never the token", async () => {
    const events = [];
    const it = await connectedWorld({ token: "test-secret", onTrace: (event) => events.push(event) });
    await receive(it, "\n");
    const seen = events.map(({ direction, command }) => `${direction} ${command}`);
    assert.deepEqual(seen.slice(0, 3), ["out CONNECT", "in CONNECTED", "out SUBSCRIBE"]);
    assert.equal(seen.at(-1), "in ");
    assert.ok(!JSON.stringify(events).includes("test-secret"));
  });
});
