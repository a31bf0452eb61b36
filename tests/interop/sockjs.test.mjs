// sockjs-client as it comes from its authors, with two STOMP libraries, on Node. The environment says where the service is.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { describe, test } from "node:test";

import * as StompJs from "@stomp/stompjs";
import SockJS from "sockjs-client";

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
