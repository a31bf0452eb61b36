"""The charsets that a text may be pushed in: a fixed list, whatever else Python knows."""

import encodings.aliases
import json
from typing import Any

import pytest

from app.api.charsets import CHARSETS, find_charset
from tests.api.service import Service, problem, settle

TEXTS = {
    "GBK": "你好，世界",
    "GB18030": "你好 😀",
    "Big5": "你好，世界",
    "Shift_JIS": "こんにちは、世界",
    "EUC-JP": "こんにちは、世界",
    "EUC-KR": "안녕하세요",
    "US-ASCII": "hello",
    "ISO-8859-1": "grüße",
    "windows-1252": "grüße €",
}
NAMES = [(name, charset) for charset, others in CHARSETS.items() for name in (charset, *others)]


@pytest.mark.parametrize(("name", "charset"), NAMES)
async def test_text_of_each_charset_reaches_the_user(name: str, charset: str, dev: Service) -> None:
    text = TEXTS.get(charset, "grüße 😀 世界")
    listener = dev.listener()
    await settle()
    for spelt in (name, name.upper(), f'"{name.lower()}"'):
        answer = await dev.push(
            "/push_all_obj/test1", text.encode(charset), content_type=f"text/plain; charset={spelt}"
        )
        assert answer.status_code == 200
    await settle()
    data = [json.loads(frame.body)["data"] for frame in listener.frames() if frame.command == "MESSAGE"]
    assert data == [text] * 3


PYTHON_ONLY = sorted(
    {name.replace("_", "-") for pair in encodings.aliases.aliases.items() for name in pair}
    - {name.lower() for name in (*dict(NAMES), "utf-8", "utf-16")}
)


def test_no_other_codec_of_python_is_found() -> None:
    others = {"punycode", "idna", "utf-7", "rot13", "hex", "zlib", "unicode_escape", "undefined", "mbcs", "oem"}
    found = {name: find_charset(name) for name in {*PYTHON_ONLY, *others}}

    assert {name for name, charset in found.items() if charset and name not in dict(NAMES)} == set()
    assert not any(found[name] for name in others)


@pytest.mark.parametrize(
    "name", ["punycode", "idna", "rot13", "hex", "utf-7", "unicode_escape", "utf-32", "no-such-charset", "x" * 60_000]
)
@pytest.mark.parametrize("path", ["/push_all_obj", "/push_all_obj/test1", "/cluster/notify/test1", "/push_topic/a"])
async def test_other_charset_is_told_which_there_are(path: str, name: str, dev: Service) -> None:
    answer = await dev.push(path, b"x" * 500_000, content_type=f"text/plain; charset={name}")

    body: dict[str, Any] = problem(answer, 415, "unsupported-media")
    assert name[:32] in body["detail"]
    assert all(charset in body["detail"] for charset in CHARSETS)
    assert len(body["detail"]) < 300
    assert "accept-encoding" not in answer.headers


@pytest.mark.parametrize("name", ["gb18030", "big5", "shift_jis", "euc-jp", "euc-kr", "utf-16", "us-ascii", "utf-8"])
async def test_body_that_is_not_of_its_charset_is_refused(name: str, dev: Service) -> None:
    body = problem(await dev.push("/push_all_obj/a", b"x\xff\xff", content_type=f"text/plain; charset={name}"), 422)

    assert name in body["detail"].lower()


async def test_charset_of_json_is_utf_8_whatever_is_said(dev: Service) -> None:
    answer = await dev.push("/push_all_obj/a", '"ü"', content_type="application/json; charset=punycode")

    assert answer.status_code == 200
