/** The stored messages of the user whose token is in the token field. Reading them needs no connection. */

import { byId, createRow, describeData } from "./page-elements.js";
import { SERVICE_URL, curlCommand, sendForJson } from "./page-requests.js";

const PATH = "/api/notify";
const PAGE_SIZE = 20;
const MAX_IDS = 1000; // of one request, says the server
const ARRIVAL_MS = 200; // messages that come at once share one look
const NO_ID = "<id>";
const [VIEWED, DELETED] = ["NOTIFY_VIEWED", "NOTIFY_DELETED"];

// without the year: messages are kept for weeks
const dayAndTime = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" };
const clock = new Intl.DateTimeFormat("en-GB", dayAndTime);

/** Says what a device of the user did. Sent once, and nobody waits for its acknowledgement. */
export function isHistoryEvent({ type }) {
  return type === VIEWED || type === DELETED;
}

/** One thing to know. Who asks again replaces the question before, and nobody sees the answer to that. */
class Question {
  #onError;
  #asked = null; // { request, onAnswer, controller } until it is answered

  constructor(onError) {
    this.#onError = onError;
  }

  get pending() {
    return this.#asked !== null;
  }

  async ask(request, onAnswer) {
    this.cancel();
    const asked = { request, onAnswer, controller: new AbortController() };
    this.#asked = asked;
    try {
      const answer = await sendForJson(request, asked.controller.signal);
      if (this.#settle(asked)) onAnswer(answer);
    } catch (error) {
      if (this.#settle(asked)) this.#onError(error);
    }
  }

  /** After a change: the answer that is on its way may be from before. */
  askAgain() {
    if (this.#asked) this.ask(this.#asked.request, this.#asked.onAnswer);
  }

  cancel() {
    this.#asked?.controller.abort();
    this.#asked = null;
  }

  #settle(asked) {
    if (this.#asked !== asked) return false;
    this.#asked = null;
    return true;
  }
}

// ----------------------------------------------------------------------------------------------------------- rows

/** The rows, newest first. A message that was viewed stays so, whatever an older answer says. */
class HistoryList {
  #list = byId("history");
  #rows = new Map(); // message id -> row
  #onRead;
  #onDelete;

  constructor({ onRead, onDelete }) {
    this.#onRead = onRead;
    this.#onDelete = onDelete;
  }

  get size() {
    return this.#rows.size;
  }

  /** Ids of what is shown, newest first. */
  get ids() {
    return [...this.#list.children].map((row) => row.dataset.messageId);
  }

  get unreadIds() {
    return this.ids.filter((id) => this.#rows.get(id).dataset.viewed === "false");
  }

  /** Nothing but `items`. A row that is there already is not touched, and so keeps the focus. */
  replace(items) {
    const wanted = new Set(items.map((item) => item.id));
    this.remove(this.ids.filter((id) => !wanted.has(id)));
    let next = this.#list.firstElementChild;
    for (const item of items) {
      const row = this.#rowOf(item);
      if (row === next) next = row.nextElementSibling;
      else this.#list.insertBefore(row, next);
    }
  }

  append(items) {
    for (const item of items) this.#list.append(this.#rowOf(item));
  }

  showViewed(ids) {
    for (const row of this.#shown(ids)) this.#setViewed(row);
  }

  remove(ids) {
    for (const row of this.#shown(ids)) {
      const hadFocus = row.contains(document.activeElement);
      const heir = row.nextElementSibling ?? row.previousElementSibling;
      this.#rows.delete(row.dataset.messageId);
      row.remove();
      if (hadFocus) (heir?.querySelector(".history-delete") ?? byId("history-load")).focus();
    }
  }

  #shown(ids) {
    return ids.map((id) => this.#rows.get(id)).filter(Boolean);
  }

  #rowOf(item) {
    const row = this.#rows.get(item.id) ?? this.#insert(item);
    row.querySelector(".history-pushed").textContent = describePushed(item);
    if (item.viewed) this.#setViewed(row);
    return row;
  }

  #insert({ id, type, data, created }) {
    const texts = {
      "message-type": type,
      "history-created": clock.format(created),
      "message-data": describeData(data),
      "message-id": id,
      "message-state": "unread",
    };
    const row = createRow("history-row", texts);
    Object.assign(row.dataset, { messageId: id, viewed: "false" });
    row.querySelector(".history-read").addEventListener("click", () => this.#onRead([id]));
    row.querySelector(".history-delete").addEventListener("click", () => this.#onDelete([id]));
    this.#rows.set(id, row);
    return row;
  }

  #setViewed(row) {
    const button = row.querySelector(".history-read");
    const hadFocus = button === document.activeElement;
    row.dataset.viewed = "true";
    row.querySelector(".message-state").textContent = "read";
    button.hidden = true;
    if (hadFocus) row.querySelector(".history-delete").focus();
  }
}

function describePushed({ ack_last_sent }) {
  return ack_last_sent === null ? "not pushed yet" : `pushed ${clock.format(ack_last_sent)}`;
}

// ---------------------------------------------------------------------------------------------------------- panel

export class HistoryPanel {
  #token;
  #onError;
  #rows = new HistoryList({ onRead: (ids) => this.markViewed(ids), onDelete: (ids) => this.delete(ids) });
  #page = new Question((error) => this.#showError(error));
  #unread = new Question((error) => this.#showError(error));
  #next = null; // where the older ones begin
  #paged = false; // older pages are shown, or asked for
  #lastChange = 0;
  #arrivalTimer = null;

  /** `token()` is asked for every request; `onError(text)` for the log. */
  constructor({ token, onError }) {
    this.#token = token;
    this.#onError = onError;
    byId("history-load").addEventListener("click", () => this.reload());
    byId("history-older").addEventListener("click", () => this.loadOlder());
    byId("history-read-all").addEventListener("click", () => this.markViewed(this.#rows.unreadIds.slice(0, MAX_IDS)));
  }

  /** The first page; older ones are dropped. */
  reload() {
    this.#paged = false;
    this.#loadUnread();
    this.#loadPage(null, (items) => this.#rows.replace(items));
  }

  /** Nothing happens while a page is on its way: this one, or one that changes where the older ones begin. */
  loadOlder() {
    if (this.#page.pending || this.#next === null) return;
    this.#paged = true;
    this.#loadPage(this.#next, (items) => this.#rows.append(items));
  }

  markViewed(ids) {
    this.#change("POST", "/viewed", ids, () => this.#rows.showViewed(ids));
  }

  delete(ids) {
    this.#change("DELETE", "/delete", ids, () => this.#rows.remove(ids));
  }

  /** A message for the user: another device read or deleted something, or it is new, and maybe stored. */
  receive({ type, data }) {
    const ids = Array.isArray(data?.ids) ? data.ids : [];
    if (type === VIEWED) this.#apply(() => this.#rows.showViewed(ids), data?.unread);
    else if (type === DELETED) this.#apply(() => this.#rows.remove(ids), data?.unread);
    else this.#arrivalTimer ??= setTimeout(() => this.#lookForNew(), ARRIVAL_MS);
  }

  /** For another token, hence maybe another user. */
  clear() {
    this.#page.cancel();
    this.#unread.cancel();
    this.#next = null;
    this.#rows.replace([]);
    this.#showUnread("–");
    byId("history-error").hidden = true;
    this.#refresh();
  }

  // Requests

  #loadPage(created, show) {
    const query = new URLSearchParams({ page_size: PAGE_SIZE, ...(created !== null && { created }) });
    this.#page.ask(this.#request("GET", `/history?${query}`), ({ items, next }) => {
      show(items);
      this.#next = next;
      byId("history-error").hidden = true;
      this.#refresh();
    });
    this.#refresh();
  }

  #loadUnread() {
    this.#unread.ask(this.#request("GET", "/unread_count"), ({ unread }) => this.#showUnread(unread));
  }

  /** A page that somebody has leafed through does not move under his hands. */
  #lookForNew() {
    const busy = this.#page.pending || this.#unread.pending; // where messages pour in, its answer would never be seen
    this.#arrivalTimer = busy ? setTimeout(() => this.#lookForNew(), ARRIVAL_MS) : null;
    if (busy) return;
    if (this.#paged) this.#loadUnread();
    else this.reload();
  }

  async #change(method, path, ids, show) {
    if (!ids.length) return;
    const token = this.#token();
    this.#lastChange += 1;
    const change = this.#lastChange;
    try {
      const { unread } = await sendForJson(this.#request(method, path, { ids }));
      if (token !== this.#token()) return;
      byId("history-error").hidden = true;
      // of changes that overlap, no answer need be the last word on the number
      this.#apply(show, change === this.#lastChange ? unread : undefined);
    } catch (error) {
      if (token === this.#token()) this.#showError(error);
    }
  }

  #apply(show, unread) {
    show();
    this.#page.askAgain();
    if (Number.isInteger(unread)) this.#showUnread(unread);
    if (!Number.isInteger(unread) || this.#unread.pending) this.#loadUnread();
    this.#refresh();
  }

  #request(method, path, body) {
    const headers = { Authorization: `Bearer ${this.#token()}` };
    const url = SERVICE_URL + PATH + path;
    if (!body) return { method, url, headers };
    return { method, url, headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body) };
  }

  // What is shown

  #showUnread(count) {
    byId("unread").textContent = count;
    byId("unread").dataset.some = count > 0;
  }

  #showError({ message }) {
    byId("history-error").textContent = message;
    byId("history-error").hidden = false;
    this.#refresh();
    this.#onError(message.replace(/\s+/g, " "));
  }

  #refresh() {
    const { size, ids, unreadIds } = this.#rows;
    byId("history").setAttribute("aria-busy", this.#page.pending);
    byId("history-shown").textContent = size ? `, ${size} shown` : "";
    byId("history-empty").hidden = size > 0 || this.#next !== null;
    this.#enable("history-older", this.#next !== null);
    this.#enable("history-read-all", unreadIds.length > 0);
    this.#showCurl("curl-history", this.#request("GET", `/history?page_size=${PAGE_SIZE}`));
    this.#showCurl("curl-viewed", this.#request("POST", "/viewed", { ids: [unreadIds[0] ?? ids[0] ?? NO_ID] }));
    this.#showCurl("curl-delete", this.#request("DELETE", "/delete", { ids: [ids[0] ?? NO_ID] }));
  }

  #enable(id, enabled) {
    const hadFocus = document.activeElement === byId(id);
    byId(id).disabled = !enabled;
    if (hadFocus && !enabled) byId("history-load").focus(); // a disabled button would drop the focus
  }

  #showCurl(id, request) {
    byId(id).textContent = curlCommand(request);
  }
}
