/**
 * How text gets to the service and back. Each transport is opened with `(options, { onOpen, onData, onClose })` and is
 * `{ name, send(text), close(code) }`; it calls `onClose(code, reason)` once, unless it was closed from this side.
 *
 * Where WebSocket cannot be had the service is spoken to in SockJS over HTTP, which passes any proxy.
 */

const OPEN_TIMEOUT_MS = 4000; // for the first sign of a transport, before the next is tried
const LOST = 1006;

/** Over WebSocket. `url` is that of the service, with http(s). */
function openWebSocket({ WebSocket, url }, { onOpen, onData, onClose }) {
  const socket = new WebSocket(url.replace(/^http/, "ws"), ["v12.stomp"]);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => onOpen();
  socket.onmessage = (event) => onData(event.data);
  socket.onclose = (event) => onClose(event.code, event.reason);
  return {
    name: "websocket",
    send: (text) => socket.send(text),
    close: (code) => socket.close(code),
  };
}

/** Over HTTP: requests that bring frames one after another, and beside them one request at a time that sends. */
class SockJsSession {
  #fetch;
  #base;
  #receiving;
  #handlers;
  #queue = [];
  #sending = false;
  #ended = false;
  #closing = false;
  #abort = new AbortController();

  constructor(name, receiving, { fetch, url }, handlers) {
    this.name = name;
    this.#fetch = fetch;
    this.#base = `${url}/${randomId(2)}/${randomId(16)}`;
    this.#receiving = receiving;
    this.#handlers = handlers;
    this.#receive().catch((cause) => this.#end(LOST, String(cause)));
  }

  send(text) {
    this.#queue.push(text);
    this.#flush().catch((cause) => this.#end(LOST, String(cause)));
  }

  /** The protocol has no word for it: the request that receives is broken off, once what was sent has arrived. */
  close() {
    this.#closing = true;
    if (!this.#sending) this.#stop();
  }

  async #receive() {
    while (!this.#ended) {
      const response = await this.#request(this.#receiving);
      for await (const line of linesOf(response.body)) if (!this.#ended) this.#handle(line);
    }
  }

  #handle(line) {
    if (line === "o") this.#handlers.onOpen();
    else if (line[0] === "a") for (const text of JSON.parse(line.slice(1))) this.#handlers.onData(text);
    else if (line[0] === "c") this.#end(...JSON.parse(line.slice(1)));
  }

  async #flush() {
    if (this.#sending) return;
    this.#sending = true;
    while (this.#queue.length && !this.#ended) {
      const body = JSON.stringify(this.#queue.splice(0));
      await this.#request("xhr_send", { body, headers: { "Content-Type": "text/plain" } });
    }
    this.#sending = false;
    if (this.#closing) this.#stop();
  }

  async #request(path, content) {
    const { signal } = this.#abort;
    const response = await this.#fetch(`${this.#base}/${path}`, { method: "POST", cache: "no-store", signal, ...content });
    if (!response.ok) throw new Error(`${path} was answered with ${response.status}`);
    return response;
  }

  #end(code, reason) {
    if (this.#ended) return;
    this.#stop();
    if (!this.#closing) this.#handlers.onClose(code, reason);
  }

  #stop() {
    this.#ended = true;
    this.#abort.abort();
  }
}

async function* linesOf(stream) {
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  let rest = "";
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop();
    yield* lines;
  }
}

export function randomId(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const OPENERS = {
  websocket: openWebSocket,
  "xhr-streaming": (options, handlers) => new SockJsSession("xhr-streaming", "xhr_streaming", options, handlers),
  // for proxies that keep a response until it is whole
  "xhr-polling": (options, handlers) => new SockJsSession("xhr-polling", "xhr", options, handlers),
};

export const TRANSPORTS = Object.keys(OPENERS);

/**
 * A transport that is the first of `options.transports` that works. Those that were waited for in vain are left out the
 * next time; a refusal costs no time, and may have been the server's restart.
 */
export function fallingBack() {
  const silent = new Set();
  return (options, handlers) => {
    const names = options.transports.filter((name) => !silent.has(name));
    return new Attempts(names, options, { ...handlers, onSilent: (name) => silent.add(name) });
  };
}

class Attempts {
  #names;
  #options;
  #handlers;
  #current = null;
  #timer = null;

  constructor(names, options, handlers) {
    this.#names = names;
    this.#options = options;
    this.#handlers = handlers;
    this.#openNext();
  }

  get name() {
    return this.#current.name;
  }

  send(text) {
    this.#current.send(text);
  }

  close(code) {
    this.#options.clock.clearTimeout(this.#timer);
    this.#current.close(code);
  }

  #openNext() {
    const [name, ...others] = this.#names;
    this.#names = others;
    let isOpen = false;
    let isOver = false;
    const giveUp = (code, reason) => {
      if (isOver) return;
      isOver = true;
      this.#options.clock.clearTimeout(this.#timer);
      if (isOpen || !this.#names.length) this.#handlers.onClose(code, reason);
      else this.#openNext();
    };
    const { onData, onOpen, onSilent } = this.#handlers;
    const transport = OPENERS[name](this.#options, {
      onOpen: () => {
        if (isOver) return;
        isOpen = true;
        this.#options.clock.clearTimeout(this.#timer);
        onOpen();
      },
      onData: (data) => isOver || onData(data),
      onClose: giveUp,
    });
    this.#current = transport;
    if (!others.length) return; // the last has all the time there is
    this.#timer = this.#options.clock.setTimeout(() => {
      if (isOpen || isOver) return;
      onSilent(name);
      giveUp(LOST, "no answer");
      transport.close(1000);
    }, OPEN_TIMEOUT_MS);
  }
}
