"""The examples of docs/embedding.md, run as they are printed there."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from tests.client import listening
from tests.service import Server, running

PAGE = (Path(__file__).parents[2] / "docs/embedding.md").read_text()
FILES = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
TARGETS = re.findall(r"stomp-notify serve --app (\S+)", PAGE)


def test_every_example_has_its_command() -> None:
    assert [f"{target.partition(':')[0]}.py" for target in TARGETS] == list(FILES)


@pytest.mark.parametrize("target", TARGETS)
def test_example_is_served_and_pushes(target: str) -> None:
    prefix = "/notify" if target.startswith("shop") else ""
    with running(Server(arguments=("serve", "--app", target), files=FILES), f"{prefix}/readyz") as server:
        asyncio.run(_push_and_echo(server, prefix, has_echo=target.startswith("notify")))
        if prefix:
            assert httpx.get(f"{server.url}/greeting").json() == "hello"


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
