"""The same requests to our server and to uvicorn with h11: every difference has its reason."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pytest

from tests.abuse.http_requests import CUT, NEXT, REQUESTS
from tests.http.wire import (
    MakeProtocol,
    Recorder,
    Seen,
    connect,
    cuts,
    hang_up,
    ours,
    send,
    statuses,
    with_h11,
)


@dataclass(frozen=True)
class Outcome:
    """What the application got of a request and the next one, how they were answered, whether the connection ended."""

    seen: tuple[Seen, ...]
    statuses: tuple[int, ...]
    is_closed: bool


TAKEN, REFUSED = (200, 200), (400,)

DIFFERENT: Mapping[str, tuple[tuple[int, ...], tuple[int, ...], str]] = {
    # request: (our answers, those of h11, why)
    "BREW": (REFUSED, TAKEN, "the parser knows the registered methods, and no route has another"),
    "BREW with a body": (REFUSED, TAKEN, "as before"),
    "line: small method": (
        REFUSED,
        TAKEN,
        "methods are case-sensitive (RFC 9110 section 9.1), and this one is unknown",
    ),
    "line: preface": (REFUSED, TAKEN, "PRI is reserved for HTTP/2 (RFC 9113 section 3.4)"),
    "line: CONNECT": (REFUSED, (200,), "this server is not a proxy"),
    "line: 0.9 with a version": (REFUSED, (200,), "only HTTP/1.0 and 1.1 are supported"),
    "line: 1.2": (REFUSED, TAKEN, "the parser knows no such version"),
    "line: 2.0": (REFUSED, TAKEN, "HTTP/2 has another form"),
    "line: two blanks": (TAKEN, REFUSED, "a server may take several blanks for one (RFC 9112 section 3)"),
    "line: after empty lines": (
        TAKEN,
        REFUSED,
        "empty lines before a request should be ignored (RFC 9112 section 2.2)",
    ),
    "line: ends with LF": (
        REFUSED,
        TAKEN,
        "CR LF is the end of a line; a proxy may see another (RFC 9112 section 2.2)",
    ),
    "target: fragment": (TAKEN, TAKEN, "a fragment is not part of a path"),
    "target: absolute": (TAKEN, TAKEN, "the absolute form has to be understood (RFC 9112 section 3.2.2)"),
    "target: absolute without path": (REFUSED, TAKEN, "no route is meant; h11 has it for a path"),
    "target: authority": (REFUSED, TAKEN, "this form is for CONNECT alone (RFC 9112 section 3.2.3)"),
    "target: relative": (REFUSED, TAKEN, "a path begins with a slash"),
    "length: list": (REFUSED, TAKEN, "may be refused (RFC 9110 section 8.6); a proxy may read another length"),
    "length: twice": (REFUSED, TAKEN, "as before"),
    "length: and chunks": (REFUSED, TAKEN, "may be refused as an attempt to smuggle (RFC 9112 section 6.3)"),
    "length: after chunks": (REFUSED, TAKEN, "as before"),
    "chunks: blank after size": (REFUSED, TAKEN, "no blank belongs there (RFC 9112 section 7.1)"),
    "chunks: huge size": (REFUSED, (), "h11 waits for the body, of which no server has room for the first chunk"),
    "chunks: LF at the end": (REFUSED, TAKEN, "CR LF is the end of a line"),
    **{
        f"header: {name}{body}": (REFUSED, TAKEN, reason)
        for name, reason in {
            "blank before name": "it continues the line before, see folded",
            "folded": "a server has to refuse what is folded, or unfold it (RFC 9112 section 5.2)",
            "LF alone": "CR LF is the end of a line; a proxy may see one header where a server sees two",
            "bell in value": "a control character is invalid (RFC 9110 section 5.5)",
        }.items()
        for body in ("", ", with a body", ", in chunks")
    },
}


async def outcome(make: MakeProtocol, pieces: Iterable[bytes]) -> Outcome:
    app = Recorder()
    wire = connect(make, app)
    await send(wire, pieces)
    found = Outcome(tuple(app.seen), tuple(statuses(wire.written)), wire.is_closing())
    await hang_up(wire)
    return found


@pytest.mark.parametrize("name", REQUESTS)
async def test_request_is_read_as_by_h11_or_for_a_reason_otherwise(name: str) -> None:
    pieces = [REQUESTS[name] + NEXT]
    here, there = await asyncio.gather(outcome(ours(), pieces), outcome(with_h11, pieces))

    if name in DIFFERENT:
        expected_here, expected_there, _ = DIFFERENT[name]
        assert (here.statuses, there.statuses) == (expected_here, expected_there)
        assert here != there
    else:
        assert here == there


def test_every_known_difference_is_looked_at() -> None:
    assert set(DIFFERENT) <= set(REQUESTS)
    assert set(CUT) <= set(REQUESTS)


@pytest.mark.parametrize("name", REQUESTS)
async def test_no_part_of_a_body_is_answered_as_a_request(name: str) -> None:
    found = await outcome(ours(), [REQUESTS[name] + NEXT])

    assert not any("smuggled" in seen.path for seen in found.seen)
    if found.statuses[0] >= 400:
        assert (found.seen, len(found.statuses), found.is_closed) == ((), 1, True)


@pytest.mark.parametrize("make", [ours(), with_h11], ids=["ours", "h11"])
@pytest.mark.parametrize("name", CUT)
async def test_request_is_the_same_wherever_it_is_cut(name: str, make: MakeProtocol) -> None:
    request = REQUESTS[name] + NEXT
    whole = await outcome(make, [request])
    for pieces in cuts(request):
        assert await outcome(make, pieces) == whole, pieces
