// Socket.IO with nothing around it: what is posted to /broadcast goes to all sockets.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  if (request.url === "/broadcast") io.emit("message", body);
  response.setHeader("Content-Length", 2).end("ok");
});
const io = new Server(http, { transports: ["websocket"] });

http.listen(0, "127.0.0.1", () => console.log(`listening on port ${http.address().port}`));
