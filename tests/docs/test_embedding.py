"""The examples of docs/embedding.md."""

import httpx
import pytest

from tests.client import listening
from tests.docs.recipes import Recipes
from tests.service import Server

RECIPES = Recipes("embedding.md")


def test_every_example_has_its_command() -> None:
    assert [f"{target.partition(':')[0]}.py" for target in RECIPES.targets] == list(RECIPES.files)


@pytest.mark.parametrize("target", RECIPES.targets)
async def test_example_is_served_and_pushes(target: str) -> None:
    prefix = "/notify" if target.startswith("shop") else ""
    with RECIPES.served(target, f"{prefix}/readyz") as server:
        await _push_and_echo(server, prefix, has_echo=target.startswith("notify"))
        async with httpx.AsyncClient(base_url=server.url) as http:
            if prefix:
                assert (await http.get("/greeting")).json() == "hello"


async def _push_and_echo(server: Server, prefix: str, *, has_echo: bool) -> None:
    async with (
        listening(f"ws://127.0.0.1:{server.port}{prefix}/stomp-ws") as client,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        (await http.post(f"{prefix}/vh-stomp-wsend/push_all_obj/test1", content="hello")).raise_for_status()
        assert b"hello" in (await client.expect("MESSAGE")).body
        if has_echo:
            await client.send("SEND", {"destination": "/app/echo"}, '"myself"')
            assert b"myself" in (await client.expect("MESSAGE")).body
