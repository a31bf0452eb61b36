/** The console: one `NotifyClient`, what it receives, and the pushes that make it receive something. */

import { NotifyClient } from "./notify-client.js";
import { byId, create, createRow, describeData, onSubmit, shorten } from "./page-elements.js";
import { HistoryPanel, isHistoryEvent } from "./page-history.js";
import { SERVICE_URL, curlCommand, describeAnswer, send, startCopyButtons } from "./page-requests.js";

const MAX_ROWS = 200;
const MAX_LOG_LINES = 500;
const MAX_LOGGED_CHARS = 300;
const MAX_PIPS = 12;
const PUSH_PATH = "/vh-stomp-wsend";
const USER_MESSAGES = "/user/queue/msg";
const TOPIC_PREFIX = "/topic/";

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

// ------------------------------------------------------------------------------------------------------- messages

/** The rows of the live list, newest first. A row's `data-state` is received, waiting or acknowledged. */
class MessageList {
  #list = byId("messages");
  #rows = new Map(); // message id -> row

  show(message, context, state) {
    const row = this.#rows.get(message.id) ?? this.#insert(message, context);
    const part = (name) => row.querySelector(`.${name}`);
    row.dataset.attempt = context.attempt;
    part("pips").textContent = "●".repeat(Math.min(context.attempt, MAX_PIPS));
    part("attempt").textContent = `attempt ${context.attempt}`;
    part("redelivered").hidden = !context.redelivered;
    part("small").onclick = () => context.ack();
    this.#setState(row, state);
    this.#count();
  }

  showResend(message, context) {
    const row = this.#rows.get(message.id);
    if (!row) return;
    this.show(message, context, row.dataset.state);
    if (!reducedMotion.matches) row.animate({ backgroundColor: ["var(--flash)", "transparent"] }, 1200);
  }

  showAcknowledged(ids) {
    for (const id of ids) if (this.#rows.has(id)) this.#setState(this.#rows.get(id), "acknowledged");
    this.#count();
  }

  /** What still waits stays: without its row nobody could acknowledge it. */
  clear() {
    for (const row of this.#rows.values()) if (row.dataset.state !== "waiting") this.#remove(row);
    this.#count();
  }

  #insert(message, { destination }) {
    const texts = {
      "message-type": message.type ?? "text",
      "message-receiver": describeReceiver(message, destination),
      "message-latency": message.created === null ? "" : `${Date.now() - message.created} ms`,
      "message-data": describeData(message.data),
      "message-id": message.id,
    };
    const row = createRow("message-row", texts);
    row.dataset.messageId = message.id;
    this.#rows.set(message.id, row);
    this.#list.prepend(row);
    if (this.#list.children.length > MAX_ROWS) this.#remove(this.#list.lastElementChild);
    return row;
  }

  #remove(row) {
    this.#rows.delete(row.dataset.messageId);
    row.remove();
  }

  #setState(row, state) {
    row.dataset.state = state;
    row.querySelector(".message-state").textContent = state;
    row.querySelector(".small").hidden = state !== "waiting";
  }

  #count() {
    const waiting = this.#list.querySelectorAll('[data-state="waiting"]').length;
    const total = this.#rows.size;
    byId("messages-empty").hidden = total > 0;
    byId("message-count").textContent = total ? `${total} shown${waiting ? `, ${waiting} waiting` : ""}` : "";
  }
}

function describeReceiver({ receiver }, destination) {
  if (destination !== USER_MESSAGES) return destination;
  return receiver === null ? "broadcast" : `to ${receiver}`;
}

// ------------------------------------------------------------------------------------------------------------ log

/** Frames and events, newest first. */
class Log {
  #list = byId("log");
  static #arrows = { in: "←", out: "→", event: "·" };
  static #clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

  add(kind, subject, text = "") {
    const line = create("li", `log-${kind}`, "");
    line.append(
      create("time", "log-time", Log.#clock.format(new Date())),
      create("span", "log-arrow", Log.#arrows[kind]),
      create("b", "log-subject", subject),
      create("span", "log-text", shorten(text, MAX_LOGGED_CHARS)),
    );
    this.#list.prepend(line);
    if (this.#list.children.length > MAX_LOG_LINES) this.#list.lastElementChild.remove();
  }

  addFrame({ direction, command, headers, body }) {
    if (!command && !byId("log-heartbeats").checked) return;
    const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}`);
    this.add(direction, command || "heart-beat", [...lines, body].filter(Boolean).join("  "));
  }

  clear() {
    this.#list.replaceChildren();
  }
}

// ----------------------------------------------------------------------------------------------------- connection

const messages = new MessageList();
const log = new Log();
const historyPanel = new HistoryPanel({
  token: tokenInField,
  onError: (text) => log.add("event", "history failed", text),
});
let sessionToken = null;
const client = new NotifyClient({
  token: () => (sessionToken = tokenInField()),
  onMessage: showMessage,
  onDuplicate: (message, context) => messages.showResend(message, context),
  onAck: (ids) => messages.showAcknowledged(ids),
  onStatus: showStatus,
  onError: showError,
  onTrace: (event) => log.addFrame(event),
});

function tokenInField() {
  return byId("token").value.trim();
}

function showMessage(message, context) {
  const forUser = context.destination === USER_MESSAGES && message.receiver !== null;
  const waits = forUser && !client.autoAck && !isHistoryEvent(message);
  messages.show(message, context, waits ? "waiting" : "received");
  // the panel follows the field, the session keeps the token it began with
  if (forUser && sessionToken === tokenInField()) historyPanel.receive(message);
}

function showStatus(status) {
  const { state, session, user, transport } = status;
  const ending = describeClose(status);
  byId("status").textContent = state;
  byId("status").dataset.state = state;
  byId("status-detail").textContent = describeDetail(status);
  byId("session").textContent = session ?? "–";
  byId("user").textContent = user ?? "–";
  byId("transport").textContent = transport ?? "–";
  if (ending) byId("last-close").textContent = ending;
  if (state === "connected") {
    byId("connection-error").hidden = true;
    historyPanel.reload();
  }
  enableControls(state);
  log.add("event", state, [ending, session && `session ${session}`, describeDetail(status)].filter(Boolean).join("  "));
}

function describeClose({ code, reason }) {
  return code === undefined ? "" : [code, reason].filter(Boolean).join(" ");
}

function describeDetail({ state, user, code, retryInMs }) {
  if (state === "connected") return `as ${user}`;
  if (state === "waiting") return `trying again in ${(retryInMs / 1000).toFixed(1)} s`;
  if (code === 4505) return "another tab or window has taken over";
  return code >= 4500 ? "will not reconnect by itself" : "";
}

function enableControls(state) {
  const [connect, disconnect] = [byId("connect"), byId("disconnect")];
  const hadFocus = [connect, disconnect].includes(document.activeElement);
  connect.disabled = state !== "closed";
  disconnect.disabled = state === "closed";
  if (hadFocus) (connect.disabled ? disconnect : connect).focus(); // a disabled button would drop the focus
  byId("chat-send").disabled = state !== "connected";
}

function showError({ source, message, detail }) {
  const text = detail ? `${message}: ${detail}` : message;
  byId("connection-error").textContent = shorten(text, MAX_LOGGED_CHARS);
  byId("connection-error").hidden = false;
  log.add("event", `${source} error`, text);
}

function startConnection() {
  byId("token").value = new URLSearchParams(location.search).get("token") ?? byId("token").value;
  byId("token").addEventListener("input", () => historyPanel.clear());
  historyPanel.clear(); // for the token that is there now
  onSubmit("connection-form", () => client.connect());
  byId("disconnect").addEventListener("click", () => client.disconnect());
  byId("ack-auto").addEventListener("change", () => (client.autoAck = true));
  byId("ack-manual").addEventListener("change", () => (client.autoAck = false));
  client.autoAck = byId("ack-auto").checked; // a reload may keep what was chosen
  byId("messages-clear").addEventListener("click", () => messages.clear());
  byId("log-clear").addEventListener("click", () => log.clear());
}

// --------------------------------------------------------------------------------------------------------- topics

const subscribed = new Set();

function subscribe(name) {
  const destination = TOPIC_PREFIX + name;
  if (!name || subscribed.has(destination)) return;
  subscribed.add(destination);
  const unsubscribe = client.subscribe(destination);
  const chip = create("li", "chip", destination);
  const remove = create("button", "quiet", "×");
  remove.type = "button";
  remove.setAttribute("aria-label", `Unsubscribe from ${destination}`);
  remove.addEventListener("click", () => {
    subscribed.delete(destination);
    unsubscribe();
    chip.remove();
    byId("topic-name").focus();
  });
  chip.append(remove);
  byId("topics").append(chip);
}

function topicNameIn(id) {
  const name = byId(id).value.trim();
  return name.startsWith(TOPIC_PREFIX) ? name.slice(TOPIC_PREFIX.length) : name;
}

function startTopics() {
  subscribe("messages");
  onSubmit("topic-form", () => {
    subscribe(topicNameIn("topic-name"));
    byId("topic-name").value = "";
  });
  onSubmit("chat-form", () => client.send("/app/sendMessage", byId("chat-body").value));
}

// ----------------------------------------------------------------------------------------------------------- push

const paths = {
  user: () => `${userPath()}/${encodeURIComponent(byId("push-user-receiver").value.trim())}`,
  broadcast: () => "/push_all_obj",
  topic: () => `/push_topic/${topicNameIn("push-topic-name").split("/").map(encodeURIComponent).join("/")}`,
};

function userPath() {
  return byId("push-user-persist").checked ? "/cluster/notify" : "/push_all_obj";
}

function requestOf(kind) {
  const apiKey = byId("api-key").value.trim();
  const headers = { "Content-Type": "text/plain; charset=utf-8", ...(apiKey && { "X-API-Key": apiKey }) };
  const url = SERVICE_URL + PUSH_PATH + paths[kind]();
  return { method: "POST", url, headers, body: byId(`push-${kind}-body`).value };
}

async function push(kind) {
  try {
    const response = await send(requestOf(kind));
    showPushResult(kind, response.ok, await describeAnswer(response));
  } catch (error) {
    showPushResult(kind, false, error.message);
  }
}

function showPushResult(kind, ok, text) {
  const result = byId("push-result");
  byId(`push-${kind}`).append(result); // beside the form that it answers
  result.dataset.state = ok ? "ok" : "failed";
  result.textContent = text;
  log.add("event", ok ? "push" : "push failed", text.replace(/\s+/g, " "));
}

function startPush() {
  const refresh = () => {
    for (const kind of Object.keys(paths)) byId(`curl-${kind}`).textContent = curlCommand(requestOf(kind));
  };
  for (const kind of Object.keys(paths)) {
    onSubmit(`push-${kind}`, () => push(kind));
    byId(`push-${kind}`).addEventListener("input", refresh);
  }
  byId("api-key").addEventListener("input", refresh);
  refresh();
}

startConnection();
startTopics();
startPush();
startCopyButtons();
