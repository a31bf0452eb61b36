"""A push from curl to the screen, with the settings that everybody starts with."""

import asyncio
import json
import shutil
import time
from contextlib import AsyncExitStack

from app.stomp.frames import Frame
from tests.client import StompClient, listening, stomp_client
from tests.e2e.backend import Backend

DEFAULT_ACK_CHECK_WAIT_S = 5.0


async def post_with_curl(backend: Backend, path: str, data: str) -> str:
    """With the command of docs/rest.md where there is one."""
    curl = shutil.which("curl")
    if curl is None:
        return (await backend.post(path, content=data.encode())).text
    url = f"{backend.server.url}/vh-stomp-wsend{path}"
    process = await asyncio.create_subprocess_exec(
        curl, "-sS", "--noproxy", "*", "-X", "POST", "-d", data, url, stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await process.communicate()
    assert process.returncode == 0
    return answer.decode()


async def test_curl_reaches_the_session_and_the_ack_is_logged(backend: Backend) -> None:
    async with stomp_client(backend.server.websocket_url) as client:
        session = (await client.connect("test1")).headers["session"]
        await client.subscribe()

        answer = json.loads(await post_with_curl(backend, "/push_all_obj/test1", "测试消息"))

        message_id = answer["id"]
        assert answer == {"id": message_id, "receiver": "test1", "status": "sent", "sessions": 1}
        frame = await client.expect("MESSAGE")
        assert frame.headers["message-id"] == message_id
        assert frame.headers["destination"] == "/user/queue/msg"
        assert frame.headers["subscription"] == "sub-0"
        assert frame.headers["content-type"].startswith("application/json")
        assert frame.headers["content-length"] == str(len(frame.body))
        assert not {"ack", "redelivered", "attempt"} & frame.headers.keys()
        message = json.loads(frame.body)
        assert message | {"created": 0, "ack_last_sent": 0} == {
            "id": message_id,
            "type": "STRING_MSG",
            "receiver": "test1",
            "data": "测试消息",
            "viewed": False,
            "created": 0,
            "ack_retry_count": 0,
            "ack_last_sent": 0,
        }
        assert abs(message["created"] - time.time() * 1000) < 10_000
        assert (await backend.status(message_id))["status"] == "sent"

        await client.ack(message_id)

        status = await backend.becomes(message_id, "delivered")
        assert [(one["session"], one["attempts"]) for one in status["sessions"]] == [(session, 1)]
        assert status["sessions"][0]["acked_at"] >= status["sessions"][0]["sent"]
        await backend.logged(f"[ACK-LOCAL] 消息入队, msgId {message_id}, sessionId {session}, receiver test1")
        await backend.logged(f"[ACK-LOCAL] 确认成功, msgId {message_id}, sessionId {session}, retryCount 0")


async def test_unacked_message_comes_again_after_the_default_wait_and_an_acked_one_does_not(backend: Backend) -> None:
    async with listening(backend.server.websocket_url, "test-default-wait") as client:
        acked, unacked = await backend.push("test-default-wait"), await backend.push("test-default-wait")
        for _ in range(2):
            await client.expect("MESSAGE")
        await client.ack(acked)
        sent_s = time.monotonic()

        again = await client.expect("MESSAGE")

        assert DEFAULT_ACK_CHECK_WAIT_S - 0.2 < time.monotonic() - sent_s < DEFAULT_ACK_CHECK_WAIT_S + 1.5
        assert again.headers["message-id"] == unacked
        assert (again.headers["redelivered"], again.headers["attempt"]) == ("true", "2")
        assert json.loads(again.body)["ack_retry_count"] == 1
        await client.ack(unacked)


async def test_broadcast_reaches_all_listeners_once_and_is_not_stored(backend: Backend) -> None:
    url = backend.server.websocket_url
    async with (
        listening(url, "test-cast-1") as first,
        listening(url, "test-cast-1") as second,
        listening(url, "test-cast-2") as other,
        stomp_client(url) as deaf,
    ):
        await deaf.connect("test-cast-3")
        await deaf.subscribe("/topic/elsewhere")

        answer = await backend.broadcast("to everybody")

        assert (answer["receiver"], answer["status"]) == (None, "sent")
        assert answer["sessions"] >= 3
        for client in (first, second, other):
            frame = await client.expect("MESSAGE")
            assert frame.headers["message-id"] == answer["id"]
            assert frame.headers["destination"] == "/user/queue/msg"
            message = json.loads(frame.body)
            assert (message["data"], message["receiver"]) == ("to everybody", None)
        assert {item["unacknowledged"] for item in await backend.sessions("test-cast-1")} == {0}
        await deaf.subscribe(id="late")
        await deaf.silent(0.2)


async def test_topic_push_reaches_its_subscribers_only(backend: Backend) -> None:
    url = backend.server.websocket_url
    async with stomp_client(url) as client, listening(url, "test-topic-2") as other:
        await client.connect("test-topic-1")
        await client.subscribe("/topic/news/sport", id="news")
        await other.subscribe("/topic/news", id="near")

        answer = await backend.push_topic("news/sport", "2:1")

        assert answer["sessions"] == 1
        frame = await client.expect("MESSAGE")
        assert (frame.headers["subscription"], frame.headers["destination"]) == ("news", "/topic/news/sport")
        assert json.loads(frame.body)["data"] == "2:1"
        await other.silent(0.2)


async def test_chat_goes_to_the_topic_of_everybody_as_it_came(backend: Backend) -> None:
    url = backend.server.websocket_url
    async with stomp_client(url) as author, stomp_client(url) as reader:
        for client, user in ((author, "test-chat-1"), (reader, "test-chat-2")):
            await client.connect(user)
            await client.subscribe("/topic/messages", id="chat")

        await author.send("SEND", {"destination": "/app/sendMessage", "content-type": "text/x-chat"}, "你好 {not json")

        for client in (author, reader):
            frame = await client.expect("MESSAGE")
            assert frame.headers["destination"] == "/topic/messages"
            assert frame.headers["content-type"] == "text/x-chat"
            assert frame.body.decode() == "你好 {not json"


async def test_batch_of_a_thousand_reaches_everybody_and_a_bad_item_stops_nothing(backend: Backend) -> None:
    users = [f"test-batch-{number}" for number in range(40)]
    online = users[:20]
    items = [{"receiver": users[number % 40], "type": "STRING_MSG", "data": number} for number in range(1000)]
    items[480]["type"] = "NO_SUCH_TYPE"

    async with AsyncExitStack() as stack:
        clients = {
            user: await stack.enter_async_context(listening(backend.server.websocket_url, user)) for user in online
        }
        results = await backend.push_batch(items)

        refused = results.pop(480)
        assert refused["error"]["status"] == 422
        assert [result["receiver"] for result in results] == [users[n % 40] for n in range(1000) if n != 480]
        assert {result["status"] for result in results if result["receiver"] in online} == {"sent"}
        assert {result["status"] for result in results if result["receiver"] not in online} == {"stored"}
        for user, client in clients.items():
            accepted = [result["id"] for result in results if result["receiver"] == user]
            assert len(accepted) == (24 if user == users[0] else 25)
            assert [frame.headers["message-id"] for frame in await take(client, len(accepted))] == accepted
            await client.silent(0.01)


async def test_five_hundred_pushes_one_after_another_arrive_in_their_order(backend: Backend) -> None:
    async with listening(backend.server.websocket_url, "test-order") as client:
        reader = asyncio.create_task(take(client, 500))

        accepted = [await backend.push("test-order", str(number)) for number in range(500)]

        frames = await asyncio.wait_for(reader, 10)
        assert [frame.headers["message-id"] for frame in frames] == accepted
        assert [json.loads(frame.body)["data"] for frame in frames] == [str(number) for number in range(500)]
        await backend.becomes(accepted[-1], "delivered")
        assert (await backend.sessions("test-order"))[0]["unacknowledged"] == 0


async def take(client: StompClient, count: int) -> list[Frame]:
    """So many messages, each acknowledged as it comes."""
    frames = []
    for _ in range(count):
        frames.append(frame := await client.expect("MESSAGE"))
        await client.ack(frame.headers["message-id"])
    return frames
