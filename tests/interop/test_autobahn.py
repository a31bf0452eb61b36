"""The WebSocket protocol as Autobahn's test suite sees it: an echo, on transport and settings of the service."""

from collections.abc import Iterator

import pytest
from kosoku import FailureError, run_fuzzingclient
from starlette.types import Receive, Scope, Send

from tests.transports.serving import serving_on_uvloop

LARGEST = 16 * 1024 * 1024  # of section 9


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


async def run(port: int, *cases: str) -> dict[str, tuple[str, str]]:
    """The verdicts on messages and on the closing handshake, by case."""
    try:
        results = await run_fuzzingclient(f"127.0.0.1:{port}", [*cases], None, concurrency=4)
    except FailureError as failure:
        results = failure.results
    return {one.case_id: (one.behavior.value, one.behavior_close.value) for one in results}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving_on_uvloop(echo, ws_max_size=LARGEST) as port:
        yield port


async def test_core_cases_pass(port: int) -> None:
    verdicts = await run(port, *(f"{section}.*" for section in (1, 2, 3, 4, 5, 6, 7, 9, 10)))

    good = {"OK", "NON-STRICT", "INFORMATIONAL"}
    assert {case: both for case, both in verdicts.items() if not good.issuperset(both)} == {}
    assert len(verdicts) >= 300


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of the suite itself
async def test_compression_is_declined_and_breaks_nothing(port: int) -> None:
    verdicts = await run(port, "12.*", "13.*")

    assert set(verdicts.values()) == {("UNIMPLEMENTED", "OK")}
    assert len(verdicts) >= 200
