// sockjs-client as it comes from its authors, with two STOMP libraries, on Node. The environment says where the service is.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { describe, test } from "node:test";

import * as StompJs from "@stomp/stompjs";
import SockJS from "sockjs-client";
import { WebSocket } from "ws";

import { NotifyClient } from "../../app/static/notify-client.js";
import { flow } from "./sockjs_flow.mjs";

const { HTTP_URL, BLOCKED_URL } = process.env;
const { Stomp } = createRequire(import.meta.url)("stompjs/lib/stomp.js");
Stomp.setInterval = (interval, call) => setInterval(call, interval);
Stomp.clearInterval = clearInterval;
const LIBRARIES = { "stompjs 2.3.3": Stomp, "@stomp/stompjs 7": StompJs };

for (const [library, module] of Object.entries(LIBRARIES)) {
  describe(library, { concurrency: true }, () => {
    for (const transport of ["websocket", "xhr-streaming", "eventsource", "xhr-polling"]) {
      test(`${transport}: connect, push, resend, ack, chat, disconnect`, async () => {
        const user = `test-${library.length}-${transport}`;
        const seen = await flow({ SockJS, library, module, transport, base: HTTP_URL, user });
        assert.deepEqual([seen.transport, seen.data, seen.same], [transport, "订单 </script>", true]);
        assert.deepEqual([seen.redelivered, seen.status], [[null, "true"], "delivered"]);
      });
    }

    test("where WebSocket is blocked another transport brings a push within 3 s", async () => {
      const user = `test-${library.length}-blocked`;
      const seen = await flow({ SockJS, library, module, transport: null, base: BLOCKED_URL, user });
      assert.notEqual(seen.transport, "websocket");
      assert.ok(seen.pushed_ms < 3000, `it took ${seen.pushed_ms} ms`);
    });
  });
}

/** As in a browser: a failure that nobody listens to ends nothing. */
class BrowserLikeWebSocket extends WebSocket {
  constructor(...given) {
    super(...given);
    this.on("error", () => {});
  }
}

describe("our own client", { concurrency: true }, () => {
  const cases = [
    [HTTP_URL, undefined, "websocket"],
    [HTTP_URL, ["xhr-streaming"], "xhr-streaming"],
    [HTTP_URL, ["xhr-polling"], "xhr-polling"],
    [BLOCKED_URL, undefined, "xhr-streaming"],
  ];
  for (const [base, transports, expected] of cases) {
    test(`${expected} of ${transports ?? "all"}${base === BLOCKED_URL ? ", WebSocket blocked" : ""}`, async () => {
      const user = `test-own-${expected}-${base === BLOCKED_URL}`;
      const statuses = [];
      const started = Date.now();
      const messages = await new Promise((resolve, reject) => {
        const got = [];
        const client = new NotifyClient({
          url: `${base}/stomp-ws`,
          token: user,
          WebSocket: BrowserLikeWebSocket,
          ...(transports && { transports }),
          onError: ({ message, detail }) => reject(new Error(`${message}: ${detail}`)),
          onStatus: async (status) => {
            statuses.push(status);
            if (status.state === "closed") resolve(got);
            if (status.state !== "connected") return;
            for (const body of ["one", "two \u2028 三"]) {
              await fetch(`${base}/vh-stomp-wsend/push_all_obj/${user}`, { method: "POST", body });
            }
          },
          onMessage: (message) => got.push([message.data, Date.now() - started]),
          onAck: () => got.length === 2 && client.disconnect(),
        });
        client.connect();
      });
      assert.deepEqual(messages.map(([data]) => data), ["one", "two \u2028 三"]);
      assert.ok(messages[0][1] < 3000, `the first push took ${messages[0][1]} ms`);
      assert.equal(statuses.find(({ state }) => state === "connected").transport, expected);
      for (let tries = 0; ; tries += 1) {
        const { items } = await (await fetch(`${base}/api/sessions/${user}`)).json();
        if (!items.length) break;
        assert.ok(tries < 100, "the session is still there");
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    });
  }
});
