// What a page does with the service, over one transport and one STOMP library. The same in Node and in a browser.

const WAIT_MS = 8000;

/** Values that come by themselves, in their order. */
class Inbox {
  #items = [];
  #takers = [];

  put(item) {
    const taker = this.#takers.shift();
    if (taker) taker(item);
    else this.#items.push(item);
  }

  take(what) {
    if (this.#items.length) return Promise.resolve(this.#items.shift());
    return new Promise((resolve, reject) => {
      this.#takers.push(resolve);
      const late = setTimeout(() => reject(new Error(`${what}: nothing in ${WAIT_MS} ms`)), WAIT_MS);
      late.unref?.(); // on Node it would keep the process
    });
  }
}

/** stompjs 2.3.3: `connect`, `subscribe`, `send`, `disconnect` on a client that was given an open socket. */
async function withStompjs2(Stomp, sock, headers, use) {
  const client = Stomp.over(sock);
  client.debug = () => {};
  await new Promise((resolve, reject) => client.connect(headers, resolve, reject));
  const listen = (destination) => {
    const inbox = new Inbox();
    client.subscribe(destination, (frame) => inbox.put(frame));
    return inbox;
  };
  await use({ listen, send: (destination, body) => client.send(destination, {}, body) });
  await new Promise((resolve) => client.disconnect(resolve));
}

/** @stomp/stompjs 7: a client that makes its sockets itself. */
async function withStompjs7(StompJs, sock, headers, use) {
  const client = new StompJs.Client({ webSocketFactory: () => sock, connectHeaders: headers, reconnectDelay: 0 });
  await new Promise((resolve, reject) => {
    client.onConnect = resolve;
    client.onStompError = reject;
    client.onWebSocketClose = reject;
    client.activate();
  });
  const listen = (destination) => {
    const inbox = new Inbox();
    client.subscribe(destination, (frame) => inbox.put(frame));
    return inbox;
  };
  await use({ listen, send: (destination, body) => client.publish({ destination, body }) });
  await client.deactivate();
}

/**
 * Connects, is pushed to, acknowledges after the resend, chats, and disconnects; says what it saw.
 * `transport` null: whichever works first.
 */
export async function flow({ SockJS, library, module, transport, base, user }) {
  const request = async (path, options) => (await fetch(base + path, options)).json();
  const becomes = async (id, status) => {
    for (let tries = 0; tries < 200; tries += 1) {
      const answer = await request(`/vh-stomp-wsend/push_status/${id}`);
      if (answer.status === status) return answer;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw new Error(`${id} is not ${status}`);
  };
  const started = Date.now();
  const sock = new SockJS(`${base}/stomp-ws`, null, transport ? { transports: [transport] } : {});
  const seen = { user };
  const headers = { Authorization: `Bearer ${user}` };
  const run = library === "stompjs 2.3.3" ? withStompjs2 : withStompjs7;
  await run(module, sock, headers, async ({ listen, send }) => {
    seen.transport = sock.transport;
    const messages = listen("/user/queue/msg");
    const chat = listen("/topic/messages");
    const { id } = await request(`/vh-stomp-wsend/push_all_obj/${user}`, { method: "POST", body: "订单 </script>" });
    const first = await messages.take("MESSAGE");
    seen.pushed_ms = Date.now() - started;
    seen.data = JSON.parse(first.body).data;
    const second = await messages.take("the resend");
    seen.same = first.headers["message-id"] === id && second.headers["message-id"] === id;
    seen.redelivered = [first.headers.redelivered ?? null, second.headers.redelivered];
    send("/app/ack", id);
    seen.status = (await becomes(id, "delivered")).status;
    send("/app/sendMessage", `from ${user}`);
    do seen.chat = (await chat.take("the chat")).body;
    while (seen.chat !== `from ${user}`);
  });
  return seen;
}
