"""The recipes of docs/extending.md: each is served, and does what the page says."""

import asyncio
import json
import re

import httpx

from tests.client import listening, stomp_client
from tests.docs.recipes import Recipes
from tests.eventually import eventually

RECIPES = Recipes("extending.md")
PUSH = "/vh-stomp-wsend"


def test_every_recipe_has_its_command() -> None:
    assert [f"{target}.py" for target in (name.removesuffix(":create") for name in RECIPES.targets)] == [*RECIPES.files]


async def test_a_message_type_with_a_model() -> None:
    with RECIPES.served("orders:create") as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            good = {"receiver": "test1", "type": "ORDER_SHIPPED", "data": {"order": 4711, "carrier": "DHL"}}
            assert (await http.post(f"{PUSH}/push_msg", json=good)).status_code == 200
            answer = await http.post(f"{PUSH}/push_msg", json=good | {"data": {"order": "soon"}})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("data.order does not fit the type ORDER_SHIPPED")


async def test_an_application_destination() -> None:
    with RECIPES.served("chat:create") as server:
        url = server.websocket_url
        async with listening(url, "test1") as sender, listening(url, "test2") as receiver:
            await sender.subscribe("/user/queue/errors", "errors")
            await sender.send("SEND", {"destination": "/app/chat"}, '{"to": "test2", "text": "hello"}')
            data = json.loads((await receiver.expect("MESSAGE")).body)["data"]
            await sender.send("SEND", {"destination": "/app/chat"}, "[]")
            told = json.loads((await sender.expect("MESSAGE")).body)
    assert data == {"from": "test1", "text": "hello"}
    assert told["detail"].startswith("a JSON object was expected")


async def test_an_authenticator() -> None:
    with RECIPES.served("login:create") as server:
        async with stomp_client(server.websocket_url) as client:
            connected = await client.connect("k3y-of-ann")
        assert connected.headers["user-name"] == "ann"
        async with stomp_client(server.websocket_url) as client:
            await client.send("CONNECT", {"accept-version": "1.2", "host": "test", "Authorization": "Bearer test1"})
            await client.expect("ERROR")
            assert (await client.closed())[0] == 4510


async def test_an_observer() -> None:
    with RECIPES.served("watch:create") as server:
        async with listening(server.websocket_url) as client, httpx.AsyncClient(base_url=server.url) as http:
            await http.post(f"{PUSH}/push_all_obj/test1", content="hello")
            message_id = (await client.expect("MESSAGE")).headers["message-id"]
            await client.ack(message_id)
            pattern = rf"watch: test1 acknowledged {message_id} after \d+ ms"
            await eventually(lambda: re.search(pattern, server.log()) is not None)
        await eventually(lambda: re.search(r"watch: test1 was here for \d+ ms", server.log()) is not None)


async def test_a_consumer() -> None:
    with RECIPES.served("ticker:create") as server:
        async with listening(server.websocket_url) as client:
            await client.subscribe("/topic/ticks", "ticks")
            numbers = [json.loads((await client.expect("MESSAGE")).body)["data"]["number"] for _ in range(2)]
            assert numbers[1] == numbers[0] + 1
            assert await asyncio.to_thread(server.stop) == 0
            assert (await client.closed())[0] == 1012


async def test_another_relay() -> None:
    with RECIPES.served("relay:create") as server:
        async with listening(server.websocket_url) as client, httpx.AsyncClient(base_url=server.url) as http:
            await http.post(f"{PUSH}/push_all_obj", content="hello all")
            assert b"hello all" in (await client.expect("MESSAGE")).body
        assert re.search(r"relay: broadcast of \d+ bytes to /user/queue/msg", server.log())
