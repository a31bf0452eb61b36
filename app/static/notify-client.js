/**
 * Browser client of stomp-notify: STOMP 1.2 over WebSocket, or over HTTP where that is blocked. It needs
 * notify-transports.js and nothing else. Copy both or import them from the service.
 *
 *     import { NotifyClient } from "/static/notify-client.js";
 *     const client = new NotifyClient({ token: () => fetchToken(), onMessage: (message) => show(message) });
 *     client.connect();
 *
 * Read from the bottom up: `NotifyClient` keeps a session alive and knows about notifications, `TabIds` says as which
 * device, `Connection` is one attempt at a session, a transport moves text, `FrameParser` and `encodeFrame` turn text
 * into frames and back.
 */

import { fallingBack, randomId, TRANSPORTS } from "./notify-transports.js";

/** Empty if this file was copied or bundled: then the service is expected at the origin of the page. */
const SERVICE_URL = /^(https?:.*)\/static\/notify-client\.js(?:[?#]|$)/.exec(import.meta.url)?.[1] ?? "";

const MAX_FRAME_BYTES = 8 * 1024 * 1024;
const MAX_SEEN_IDS = 1000;
const HEARTBEAT_MS = 10_000;
const HEARTBEAT = { command: "", headers: {}, body: "" };
const SILENT_INTERVALS = 3;
const CONNECT_TIMEOUT_MS = 10_000;
const CLOSE_AFTER_ERROR_MS = 2_000;
const STABLE_MS = 5_000;
const BACKOFF_BASE_MS = 500;
const BACKOFF_CAP_MS = 30_000;
// The server allows 100 frames a second. A full inbox arrives within one second, so acks share frames.
const ACK_INTERVAL_MS = 50;
const ACK_BATCH = 500;

// Close codes that this client makes up itself; the rest are the server's.
const NORMAL = 1000;
const TIMED_OUT = 3008;
const PROTOCOL_ERROR = 4002;
const HEARTBEAT_LOST = 4012;
const REPLACED = 4505;
const FIRST_FINAL_CODE = 4500; // from here on "the same attempt would fail again"

// ---------------------------------------------------------------------------------------------------- STOMP codec

const [LF, CR, NUL] = [10, 13, 0];
const ESCAPED = { "\\": "\\\\", "\r": "\\r", "\n": "\\n", ":": "\\c" };
const UNESCAPED = { "\\\\": "\\", "\\r": "\r", "\\n": "\n", "\\c": ":" };
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true }); // "ignore" as in "leave it in the text"

/**
 * One STOMP 1.2 frame as text. Headers that are undefined or null are left out.
 * @throws {Error} where a header cannot be written: CONNECT knows no escapes, and nothing can escape a NUL
 */
export function encodeFrame(command, headers = {}, body = "") {
  const escape = (text) => (command === "CONNECT" ? text : text.replace(/[\\\r\n:]/g, (char) => ESCAPED[char]));
  const lines = [command];
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || value === null) continue;
    const line = `${escape(name)}:${escape(String(value))}`;
    if (/[\r\n\0]/.test(line)) throw new Error(`header ${JSON.stringify(name)} has a character that cannot be sent`);
    lines.push(line);
  }
  if (body) lines.push(`content-length:${encoder.encode(body).length}`);
  return `${lines.join("\n")}\n\n${body}\0`;
}

/**
 * @typedef {object} Frame
 * @property {string} command
 * @property {Record<string, string>} headers  of a repeated header the first counts, as the specification says
 * @property {string} body                     decoded as UTF-8
 */

/** Cuts what arrives, text or bytes in pieces of any size, into frames. Useless once `push` has thrown. */
export class FrameParser {
  #buffer = new Uint8Array(0);

  /**
   * @param {string | ArrayBuffer | Uint8Array} data
   * @returns {Frame[]} the frames that are complete now; heart-beats leave none
   * @throws {Error} where this is not STOMP 1.2
   */
  push(data) {
    const bytes = typeof data === "string" ? encoder.encode(data) : new Uint8Array(data);
    this.#buffer = this.#buffer.length ? concat(this.#buffer, bytes) : bytes;
    const frames = [];
    for (let frame = this.#next(); frame; frame = this.#next()) frames.push(frame);
    if (this.#buffer.length > MAX_FRAME_BYTES) throw new Error("frame too large");
    return frames;
  }

  #next() {
    let start = 0;
    while (this.#buffer[start] === LF || this.#buffer[start] === CR) start += 1;
    this.#buffer = this.#buffer.subarray(start);
    const bodyStart = findBody(this.#buffer);
    if (bodyStart < 0) return null;
    const { command, headers } = parseHead(decoder.decode(this.#buffer.subarray(0, bodyStart)));
    const bodyEnd = findEnd(this.#buffer, bodyStart, headers["content-length"]);
    if (bodyEnd < 0) return null;
    const body = decoder.decode(this.#buffer.subarray(bodyStart, bodyEnd));
    this.#buffer = this.#buffer.subarray(bodyEnd + 1);
    return { command, headers, body };
  }
}

function concat(left, right) {
  const joined = new Uint8Array(left.length + right.length);
  joined.set(left);
  joined.set(right, left.length);
  return joined;
}

/** Index behind the empty line that ends the headers, or -1. */
function findBody(bytes) {
  for (let at = bytes.indexOf(LF); at >= 0; at = bytes.indexOf(LF, at + 1)) {
    if (bytes[at + 1] === LF) return at + 2;
    if (bytes[at + 1] === CR && bytes[at + 2] === LF) return at + 3;
  }
  return -1;
}

/** Index of the NUL that ends the body, or -1 where it has not arrived. */
function findEnd(bytes, bodyStart, contentLength) {
  if (contentLength === undefined) return bytes.indexOf(NUL, bodyStart);
  if (!/^\d+$/.test(contentLength) || Number(contentLength) > MAX_FRAME_BYTES) throw new Error("bad content-length");
  const end = bodyStart + Number(contentLength);
  if (end >= bytes.length) return -1;
  if (bytes[end] !== NUL) throw new Error("no NUL where content-length says the body ends");
  return end;
}

function parseHead(text) {
  const [command, ...lines] = text.split(/\r?\n/).slice(0, -2);
  const unescape = (part) => (command === "CONNECTED" ? part : part.replace(/\\[^]?/g, unescapePair));
  const headers = Object.create(null);
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon < 1) throw new Error("header line without a name");
    const name = unescape(line.slice(0, colon));
    headers[name] ??= unescape(line.slice(colon + 1));
  }
  return { command, headers };
}

function unescapePair(pair) {
  // 1.2: "Undefined escape sequences such as \t MUST be treated as a fatal protocol error."
  if (!(pair in UNESCAPED)) throw new Error("undefined escape sequence");
  return UNESCAPED[pair];
}

// ----------------------------------------------------------------------------------------------------- connection

/** One attempt at a session, from asking for the token to the close. Once ended it never calls its owner again. */
class Connection {
  #options;
  #owner;
  #parser = new FrameParser();
  #transport = null;
  #connected = false;
  #ended = false;
  #deadline = null;
  #beatTimer = null;
  #beatMs = 0;
  #silenceMs = 0;
  #sentAt = 0;
  #error = null;

  /** `owner` has `onConnected(frame, transportName)`, `onMessage(frame)`, `onError(error)` and `onEnd(end)`. */
  constructor(options, owner) {
    this.#options = options;
    this.#owner = owner;
  }

  async open() {
    const { url, openTransport, clientId } = this.#options;
    const live = (handler) => (...args) => this.#ended || handler(...args); // a closed socket may still have events
    this.#expectWithin(CONNECT_TIMEOUT_MS, TIMED_OUT, "connect timed out");
    try {
      const token = await this.#askToken();
      if (this.#ended) return;
      const hello = connectHeaders(url, token, clientId);
      encodeFrame("CONNECT", hello); // a token that cannot be sent fails here, before there is a socket
      this.#transport = openTransport(this.#options, {
        onOpen: live(() => this.send("CONNECT", hello)),
        onData: live((data) => this.#receive(data)),
        onClose: live((code, reason) => this.#end(code, reason)),
      });
    } catch (cause) {
      if (this.#ended) return;
      this.#fail({ source: "connect", message: "could not start to connect", detail: String(cause) });
      this.#end(null, "could not start to connect");
    }
  }

  async #askToken() {
    const { token } = this.#options;
    return typeof token === "function" ? token() : token;
  }

  send(command, headers, body) {
    this.#write(encodeFrame(command, headers, body));
    this.#trace("out", { command, headers: withoutSecrets(headers), body: body ?? "" });
  }

  /** Ends the session from this side, without `onEnd`. What was sent before still arrives. */
  disconnect() {
    if (this.#connected) this.send("DISCONNECT", {});
    this.#shut(NORMAL);
  }

  #end(code, reason) {
    if (this.#ended) return; // by the application, in its onError
    this.#shut(code >= 3000 ? code : NORMAL); // the only codes that a browser lets a page send
    this.#owner.onEnd({ code, reason, error: this.#error });
  }

  #shut(code) {
    this.#ended = true;
    this.#options.clock.clearTimeout(this.#deadline);
    this.#options.clock.clearTimeout(this.#beatTimer);
    this.#transport?.close(code);
  }

  #receive(data) {
    if (this.#silenceMs) this.#expectSign();
    this.#beatIfIdle();
    let frames;
    try {
      frames = this.#parser.push(data);
    } catch (cause) {
      this.#fail({ source: "protocol", message: "not STOMP 1.2", detail: cause.message });
      return this.#end(PROTOCOL_ERROR, cause.message);
    }
    if (data === "\n") this.#trace("in", HEARTBEAT);
    for (const frame of frames) if (!this.#ended) this.#handle(frame);
  }

  #handle(frame) {
    this.#trace("in", frame);
    if (frame.command === "CONNECTED" && !this.#connected) this.#handleConnected(frame);
    else if (frame.command === "ERROR") this.#handleError(frame);
    else if (frame.command === "MESSAGE" && this.#connected) this.#owner.onMessage(frame);
  }

  #handleConnected(frame) {
    const [theirSendMs = 0, theirReceiveMs = 0] = (frame.headers["heart-beat"] ?? "").split(",").map(Number);
    this.#connected = true;
    this.#options.clock.clearTimeout(this.#deadline);
    this.#beatMs = theirReceiveMs && Math.max(HEARTBEAT_MS, theirReceiveMs);
    this.#silenceMs = theirSendMs && SILENT_INTERVALS * Math.max(HEARTBEAT_MS, theirSendMs);
    if (this.#silenceMs) this.#expectSign();
    if (this.#beatMs) this.#scheduleBeat();
    this.#owner.onConnected(frame, this.#transport.name);
  }

  /** An ERROR is the last frame; the close with its code follows. */
  #handleError({ headers, body }) {
    this.#silenceMs = 0;
    this.#expectWithin(CLOSE_AFTER_ERROR_MS, PROTOCOL_ERROR, "not closed after ERROR");
    this.#fail({ source: "server", message: headers.message ?? "ERROR", detail: body });
  }

  #fail(error) {
    this.#error = error;
    this.#owner.onError(error);
  }

  #expectSign() {
    this.#expectWithin(this.#silenceMs, HEARTBEAT_LOST, "no heart-beat");
  }

  #expectWithin(ms, code, reason) {
    this.#options.clock.clearTimeout(this.#deadline);
    this.#deadline = this.#options.clock.setTimeout(() => this.#end(code, reason), ms);
  }

  #scheduleBeat() {
    this.#beatTimer = this.#options.clock.setTimeout(() => {
      this.#beatIfIdle();
      this.#scheduleBeat();
    }, this.#beatMs);
  }

  /** Also called on everything received: in a hidden tab timers run once a minute, while messages come in time. */
  #beatIfIdle() {
    if (!this.#beatMs || this.#options.clock.now() - this.#sentAt < this.#beatMs / 2) return;
    this.#write("\n");
    this.#trace("out", HEARTBEAT);
  }

  #write(text) {
    this.#transport.send(text);
    this.#sentAt = this.#options.clock.now();
  }

  #trace(direction, { command, headers, body }) {
    this.#options.onTrace?.({ direction, command, headers, body });
  }
}

function connectHeaders(url, token, clientId) {
  return {
    "accept-version": "1.2",
    host: new URL(url).hostname,
    "heart-beat": `${HEARTBEAT_MS},${HEARTBEAT_MS}`,
    "client-id": clientId,
    Authorization: token ? `Bearer ${token}` : undefined,
  };
}

function withoutSecrets(headers) {
  return headers.Authorization ? { ...headers, Authorization: "Bearer …" } : headers;
}

// ---------------------------------------------------------------------------------------------------------- tabs

const IDS_KEY = "stomp-notify.client-ids";

/**
 * Names for the clients of a tab that outlive a reload, so that the new page replaces the session of the old one.
 *
 * A tab that is duplicated starts with a copy of the session storage, and two tabs with one name would end each other's
 * sessions. So a name is in the storage only while no page has it: from `pagehide` to the first client of the next page.
 */
export class TabIds {
  #page;
  #kept = null; // names that the page before has left
  #used = [];

  constructor(page = globalThis) {
    this.#page = page;
  }

  take() {
    if (!this.#kept) this.#start();
    const id = this.#kept.shift() ?? randomId(16);
    this.#used.push(id);
    return id;
  }

  /** Another tab has it, wherever it got it from. */
  giveUp(id) {
    this.#used = this.#used.filter((used) => used !== id);
  }

  #start() {
    this.#page.addEventListener?.("pagehide", () => this.#store(this.#used));
    this.#page.addEventListener?.("pageshow", () => this.#store([])); // also back from where pages are kept
    this.#kept = this.#read();
    this.#store([]);
  }

  #read() {
    try {
      const ids = JSON.parse(this.#page.sessionStorage.getItem(IDS_KEY));
      return ids.filter((id) => /^[!-~]{1,64}$/.test(id));
    } catch {
      return []; // there is nothing, or nothing that may be read
    }
  }

  #store(ids) {
    try {
      if (ids.length) this.#page.sessionStorage.setItem(IDS_KEY, JSON.stringify(ids));
      else this.#page.sessionStorage.removeItem(IDS_KEY);
    } catch {
      // without a storage the next page has another name, and the session of this one ends by its silence
    }
  }
}

const tabIds = new TabIds();

// --------------------------------------------------------------------------------------------------------- client

const MESSAGES = "/user/queue/msg";
const ERRORS = "/user/queue/errors";
const PLAIN_ID = /^[\w.:-]+$/;

const clock = {
  now: () => Date.now(),
  setTimeout: (callback, ms) => globalThis.setTimeout(callback, ms),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
};

/** Full jitter: anything from nothing to 500 ms, 1 s, 2 s … 30 s, so that a restarted server is not stormed. */
function backoffMs(failures, random) {
  return Math.round(random() * Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** failures));
}

/**
 * @typedef {object} Message        as the service sends it; on a topic with free text only `id` and `data` are set
 * @property {string} id
 * @property {?string} type         `STRING_MSG` and whatever else the application registered
 * @property {?string} receiver     a user id; null for broadcasts and topics, which need no ack
 * @property {unknown} data
 * @property {boolean} viewed
 * @property {?number} created      ms since the epoch, by the clock of the server
 *
 * @typedef {object} Context
 * @property {string} id
 * @property {number} attempt       1 for the first sending
 * @property {boolean} redelivered
 * @property {boolean} duplicate    true only in `onDuplicate`
 * @property {string} destination
 * @property {() => boolean} ack    as `client.ack(id)`; does nothing where no ack is needed
 *
 * @typedef {object} Status
 * @property {"connecting" | "connected" | "waiting" | "closed"} state  "closed" stays until the next `connect()`
 * @property {?number} [code]       close code that led here; 3008, 4002, 4012 may be the client's own; null: no socket;
 *   4505: another client has this name, a duplicate of this tab most likely
 * @property {string} [reason]
 * @property {number} [retryInMs]   with "waiting"
 * @property {string} [session]     with "connected", as are `user` and `transport`
 * @property {string} [user]
 * @property {string} [transport]   "websocket", "xhr-streaming" or "xhr-polling"
 * @property {?ClientError} [error] what the server said before it closed
 *
 * @typedef {object} ClientError
 * @property {"connect" | "protocol" | "server" | "request" | "handler"} source  "server" is an ERROR frame, which ends
 *   the session; "request" came on /user/queue/errors, which does not
 * @property {string} message
 * @property {string} detail
 */

/** Keeps one session alive, hands every message over once, and acknowledges it. */
export class NotifyClient {
  /** Whether a message is acknowledged once `onMessage` is done with it; may be changed at any time. */
  autoAck;
  #options;
  #subscriptions = new Map(); // id -> { destination, receive(frame) }, kept over reconnects
  #lastSubscription = 0;
  #seen = new Map(); // message id -> "pending" | "handled" | "acked", oldest first
  #acks = new Set();
  #ackTimer = null;
  #connection = null;
  #connectedAt = null;
  #user = null;
  #failures = 0;
  #isNamedByTab;
  #retryTimer = null;
  #retryNow = () => this.#retryTimer !== null && this.#open();

  /**
   * @param {object} options
   * @param {string} [options.url]  default: `/stomp-ws` of the service that this file comes from, else of this origin;
   *   http(s) counts as ws(s)
   * @param {string | (() => string | Promise<string>)} [options.token]  a function is asked before every attempt
   * @param {string} [options.clientId]  names this client for the server, 1 to 64 visible ASCII characters: its next
   *   session replaces the one before, wherever that hangs. What has the same name at the same time ends the other with
   *   4505. Default: a name of this tab
   * @param {(message: Message, context: Context) => unknown} [options.onMessage]  called once a message id. Where it
   *   throws or rejects, the message is not acknowledged; the server sends it again and it counts as new
   * @param {(message: Message, context: Context) => void} [options.onDuplicate]  a resend of what was handed over
   * @param {(status: Status) => void} [options.onStatus]  on every change
   * @param {(error: ClientError) => void} [options.onError]
   * @param {(ids: string[]) => void} [options.onAck]  these acknowledgements were sent
   * @param {(event: object) => void} [options.onTrace]  `{direction, command, headers, body}` of every frame, without
   *   the token; a heart-beat has an empty command
   * @param {boolean} [options.autoAck]
   * @param {string[]} [options.topics]  destinations (`/topic/…`) whose messages go to `onMessage` too
   * @param {string[]} [options.transports]  which may be used, in the order in which they are tried; default: all
   * @param {typeof WebSocket} [options.WebSocket]  this and the rest are seams for tests and other transports
   */
  constructor({ url = `${SERVICE_URL}/stomp-ws`, autoAck = true, topics = [], ...options } = {}) {
    const absolute = new URL(url, globalThis.location?.href);
    absolute.protocol = absolute.protocol.replace("ws", "http");
    const io = { WebSocket: globalThis.WebSocket, fetch: (...request) => globalThis.fetch(...request) };
    const seams = { openTransport: fallingBack(), transports: TRANSPORTS, random: Math.random, clock, tabIds };
    this.#options = { ...io, ...seams, network: globalThis, ...options, url: absolute.href };
    this.#isNamedByTab = options.clientId === undefined;
    this.autoAck = autoAck;
    this.#addSubscription(ERRORS, (frame) => this.#receiveError(frame));
    for (const topic of topics) this.subscribe(topic);
    this.#addSubscription(MESSAGES, (frame) => this.#receiveNotification(frame));
  }

  /** Starts; from now on lost connections come back by themselves. Nothing happens where it has started already. */
  connect() {
    if (this.#connection || this.#retryTimer !== null) return;
    this.#failures = 0;
    this.#options.clientId ??= this.#options.tabIds.take();
    this.#options.network.addEventListener?.("online", this.#retryNow);
    this.#open();
  }

  /** Sends the acks that wait, ends the session and stays away. */
  disconnect() {
    if (!this.#connection && this.#retryTimer === null) return;
    this.#flushAcks();
    this.#connection?.disconnect();
    this.#stop({ code: NORMAL, reason: "disconnected" });
  }

  /**
   * Acknowledges messages; acks of one moment share a frame.
   * @param {string | string[]} ids
   * @returns {boolean} false where there is no session. The server sends such a message again, and is answered then
   */
  ack(ids) {
    for (const id of [ids].flat()) {
      if (this.#seen.has(id)) this.#seen.set(id, "acked");
      if (this.connected) this.#acks.add(id);
    }
    if (this.#ackTimer === null) this.#flushAcks();
    return this.connected;
  }

  /**
   * @param {string} destination  `/app/…`
   * @param {unknown} [body]      a string goes as it is, anything else as JSON
   * @returns {boolean} false where there is no session; nothing is queued
   */
  send(destination, body = "") {
    if (!this.connected) return false;
    const [type, text] = typeof body === "string" ? ["text/plain", body] : ["application/json", JSON.stringify(body)];
    this.#connection.send("SEND", { destination, "content-type": `${type};charset=utf-8` }, text);
    return true;
  }

  /**
   * Subscribes now and after every reconnect.
   * @param {string} destination
   * @param {(message: Message, context: Context) => unknown} [handler]  default: `onMessage`
   * @returns {() => void} ends the subscription
   */
  subscribe(destination, handler = (...args) => this.#options.onMessage?.(...args)) {
    const id = this.#addSubscription(destination, (frame) => {
      const message = readMessage(frame);
      this.#guard(() => handler(message, this.#contextOf(message, frame)));
    });
    return () => {
      if (this.#subscriptions.delete(id) && this.connected) this.#connection.send("UNSUBSCRIBE", { id });
    };
  }

  /** Whether there is a session at this moment. */
  get connected() {
    return this.#connectedAt !== null;
  }

  // Life of the connection

  #open() {
    this.#clearRetry();
    this.#connection = new Connection(this.#options, {
      onConnected: (frame, transport) => this.#handleConnected(frame, transport),
      onMessage: (frame) => this.#subscriptions.get(frame.headers.subscription)?.receive(frame),
      onError: (error) => this.#emit("onError", error),
      onEnd: (end) => this.#handleEnd(end),
    });
    this.#connection.open();
    this.#emit("onStatus", { state: "connecting" });
  }

  #handleConnected({ headers }, transport) {
    const user = headers["user-name"];
    if (user !== this.#user) this.#seen.clear(); // ids are unique for a user, not over users
    this.#user = user;
    this.#connectedAt = this.#options.clock.now();
    for (const [id, { destination }] of this.#subscriptions) this.#sendSubscribe(id, destination);
    this.#emit("onStatus", { state: "connected", session: headers.session, user, transport });
  }

  #handleEnd(end) {
    const stable = this.connected && this.#options.clock.now() - this.#connectedAt >= STABLE_MS;
    this.#forgetSession();
    if (end.code === REPLACED && this.#isNamedByTab) this.#giveUpName();
    if (end.code >= FIRST_FINAL_CODE) return this.#stop(end);
    if (stable) this.#failures = 0;
    const retryInMs = backoffMs(this.#failures, this.#options.random);
    this.#failures += 1;
    this.#retryTimer = this.#options.clock.setTimeout(() => this.#open(), retryInMs);
    this.#emit("onStatus", { state: "waiting", ...end, retryInMs });
  }

  /** Or the next `connect()` would take the session back. */
  #giveUpName() {
    this.#options.tabIds.giveUp(this.#options.clientId);
    this.#options.clientId = undefined;
  }

  #stop(end) {
    this.#forgetSession();
    this.#clearRetry();
    this.#options.network.removeEventListener?.("online", this.#retryNow);
    this.#emit("onStatus", { state: "closed", ...end });
  }

  #forgetSession() {
    this.#connection = null;
    this.#connectedAt = null;
    this.#acks.clear();
    this.#options.clock.clearTimeout(this.#ackTimer);
    this.#ackTimer = null;
  }

  #clearRetry() {
    this.#options.clock.clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
  }

  // What comes in

  #addSubscription(destination, receive) {
    this.#lastSubscription += 1;
    const id = `sub-${this.#lastSubscription}`;
    this.#subscriptions.set(id, { destination, receive });
    if (this.connected) this.#sendSubscribe(id, destination);
    return id;
  }

  #sendSubscribe(id, destination) {
    this.#connection.send("SUBSCRIBE", { id, destination, ack: "auto" });
  }

  async #receiveNotification(frame) {
    const message = readMessage(frame);
    const context = this.#contextOf(message, frame);
    const known = this.#seen.get(message.id);
    if (known) return this.#receiveDuplicate(message, { ...context, duplicate: true }, known);
    this.#mark(message.id, "pending");
    if (!(await this.#guard(() => this.#options.onMessage?.(message, context)))) return this.#seen.delete(message.id);
    if (this.#seen.get(message.id) === "acked") return;
    this.#mark(message.id, "handled");
    if (this.autoAck) context.ack();
  }

  /** A message that `onMessage` still works on, or that waits for an ack by hand, must stay unacknowledged. */
  #receiveDuplicate(message, context, known) {
    if (known === "acked" || (known === "handled" && this.autoAck)) context.ack();
    this.#emit("onDuplicate", message, context);
  }

  #receiveError({ headers, body }) {
    const problem = parseObject(body) ?? {};
    const message = problem.title ?? problem.message ?? headers.message ?? "a request was refused";
    this.#emit("onError", { source: "request", message, detail: problem.detail ?? body });
  }

  #contextOf({ id, receiver }, { headers }) {
    return {
      id,
      attempt: Number(headers.attempt ?? 1),
      redelivered: headers.redelivered === "true",
      duplicate: false,
      destination: headers.destination,
      ack: () => receiver !== null && this.ack(id),
    };
  }

  #mark(id, state) {
    this.#seen.set(id, state);
    if (this.#seen.size > MAX_SEEN_IDS) this.#seen.delete(this.#seen.keys().next().value);
  }

  /** Runs a handler of the application; false where it failed. */
  async #guard(handler) {
    try {
      await handler();
      return true;
    } catch (cause) {
      this.#emit("onError", { source: "handler", message: "a message handler failed", detail: String(cause) });
      return false;
    }
  }

  // What goes out

  #flushAcks() {
    this.#ackTimer = null;
    if (!this.connected || !this.#acks.size) return;
    const ids = [...this.#acks].slice(0, ACK_BATCH);
    for (const id of ids) this.#acks.delete(id);
    this.send("/app/ack", ids.length === 1 && PLAIN_ID.test(ids[0]) ? ids[0] : ids);
    this.#ackTimer = this.#options.clock.setTimeout(() => this.#flushAcks(), ACK_INTERVAL_MS);
    this.#emit("onAck", ids);
  }

  /** A callback that throws must not stop the client. */
  #emit(name, ...args) {
    try {
      this.#options[name]?.(...args);
    } catch (cause) {
      console.error(`NotifyClient: ${name} failed`, cause);
    }
  }
}

function readMessage({ headers, body }) {
  const parsed = parseObject(body);
  if (typeof parsed?.id === "string") return parsed;
  const text = { id: headers["message-id"], type: null, receiver: null, data: parsed ?? body };
  return { ...text, viewed: false, created: null, ack_retry_count: 0, ack_last_sent: null };
}

function parseObject(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}
