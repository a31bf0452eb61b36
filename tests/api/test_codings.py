"""Bodies that are compressed: inflated within the limit of a body."""

import gzip
import json
import zlib

import pytest

from app.http.codings import MAX_MEMBERS
from tests.api.service import PUSH, Service, problem, service, settle

LIMIT = 524_288
TEXT = "grüße 😀 " * 100


def gzipped(data: bytes) -> bytes:
    """The same bytes at any time: they are names of tests."""
    return gzip.compress(data, mtime=0)


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


BODIES = [
    ("gzip", gzipped(TEXT.encode())),
    ("GZip", gzipped(TEXT[:50].encode()) + gzipped(TEXT[50:].encode())),
    ("x-gzip", gzipped(TEXT.encode())),
    ("deflate", zlib.compress(TEXT.encode())),
    ("deflate", raw_deflate(TEXT.encode())),
    ("identity", TEXT.encode()),
]


@pytest.mark.parametrize(("coding", "body"), BODIES)
async def test_content_reaches_the_user(coding: str, body: bytes, dev: Service) -> None:
    listener = dev.listener()
    await settle()

    answer = await dev.push("/push_all_obj/test1", body, content_encoding=coding)

    assert answer.status_code == 200
    await settle()
    (message,) = [frame for frame in listener.frames() if frame.command == "MESSAGE"]
    assert json.loads(message.body)["data"] == TEXT


@pytest.mark.parametrize("route", ["push_all_obj", "push_all_obj/a", "cluster/notify/a", "push_topic/t"])
@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "gzip, identity", "", "x" * 5_000])
async def test_other_coding_is_told_which_there_are(route: str, coding: str, dev: Service) -> None:
    answer = await dev.push(f"/{route}", b"x", content_encoding=coding)

    body = problem(answer, 415, "unsupported-media")
    assert answer.headers["accept-encoding"] == "gzip, deflate"
    assert repr(coding[:64]) in body["detail"]
    assert len(body["detail"]) < 200


async def test_two_header_lines_are_two_codings(dev: Service) -> None:
    twice = gzipped(gzipped(b"x"))
    headers = [("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")]

    problem(await dev.http.post(f"{PUSH}/push_all_obj", content=twice, headers=headers), 415)


async def test_ids_of_a_user_may_be_compressed_too(dev: Service) -> None:
    headers = {"Authorization": "Bearer test1", "Content-Encoding": "gzip"}
    body = gzipped(b'{"ids": ["m1"]}')

    answer = await dev.http.post("/api/notify/viewed", content=body, headers=headers)

    assert answer.json() == {"updated": 0, "unread": 0}


@pytest.mark.parametrize(
    ("coding", "compress"), [("gzip", gzipped), ("deflate", zlib.compress), ("deflate", raw_deflate)]
)
async def test_content_of_the_limit_is_taken_and_one_more_byte_is_not(
    coding: str, compress: object, dev: Service
) -> None:
    for size, status in ((LIMIT, 200), (LIMIT + 1, 413), (100 * LIMIT, 413)):
        body = compress(b"x" * size)  # type: ignore[operator]
        answer = await dev.push("/push_topic/t", body, content_encoding=coding)
        assert answer.status_code == status, size


async def test_limit_holds_for_all_members_together() -> None:
    async with service(http_max_body_bytes=1_000) as small:
        body = gzipped(b"x" * 600) + gzipped(b"x" * 401)
        problem(await small.push("/push_all_obj", body, content_encoding="gzip"), 413, "too-large")


@pytest.mark.parametrize(
    ("coding", "body", "words"),
    [
        ("gzip", b"hello", "inflate"),
        ("gzip", gzipped(b"hello")[:-1], "ends in the middle"),
        ("gzip", gzipped(b"hello")[:12], "ends in the middle"),
        ("gzip", gzipped(b"hello")[:-5] + b"12345", "inflate"),
        ("gzip", gzipped(b"hello") + b"x", "ends in the middle"),
        ("gzip", gzipped(b"") * (MAX_MEMBERS + 1), "goes on"),
        ("deflate", b"\xff\xff\xff", "inflate"),
        ("deflate", zlib.compress(b"hello") + b"x", "goes on"),
        ("deflate", zlib.compress(b"hello")[:-1], "ends in the middle"),
        ("gzip", b"", "empty"),
    ],
)
async def test_body_that_does_not_inflate_is_refused(coding: str, body: bytes, words: str, dev: Service) -> None:
    answer = problem(await dev.push("/push_all_obj", body, content_encoding=coding), 422, "invalid-message")

    assert words in answer["detail"]
