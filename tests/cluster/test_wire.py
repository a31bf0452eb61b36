import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.cluster.wire import (
    UNORDERED,
    Kind,
    decode_entry,
    decode_envelope,
    decode_notice,
    decode_publication,
    encode_envelope,
    encode_notice,
    encode_publication,
    label,
    parse_node_message,
)
from app.hub.publication import Notice, Publication
from app.messages.message import Envelope, MessageEncoder, NotifyMessage

DATA = [
    "hello",
    {"a": [1, None], "ack_retry_count": 7, "expires_ms": 1, "created": 2},
    '","expires_ms":1}',
    "消息\n\x00",
    None,
    json.loads("[" * 201 + "]" * 201),  # as deep as a body may be
]


def envelope_of(data: Any, *, acknowledged: bool = True, persisted: bool = False) -> Envelope:
    message = NotifyMessage(id="m1", type="STRING_MSG", receiver="ann", data=data, viewed=False, created=5)
    return Envelope(
        message=message,
        encoder=MessageEncoder(message),
        expires_ms=60_005,
        acknowledged=acknowledged,
        persisted=persisted,
    )


def stored(envelope: Envelope, *, accepted: int = 100, unsent: bool = False) -> bytes:
    """Return a stored message in the format of the script PUT."""
    mark = b',"unsent":true' if unsent else b""
    return b'%b,"accepted":%d,"previous":99,"life_ms":60000%b,"expires_ms":60005}' % (
        encode_envelope(envelope)[:-1],
        accepted,
        mark,
    )


TIMES = {"now_ms": 5, "server_ms": 5}
NO_OBJECTS = (b"", b"{", b"null", b"[]", b"1", b"\xff", b"{}", b"[" * 100_000)
DEEP = stored(envelope_of(None)).replace(b'"data":null', b'"data":' + b"[" * 100_000)
NO_TEXT = stored(envelope_of("x")).replace(b'"data":"x"', b'"data":"\xff"')


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(("acknowledged", "persisted"), [(True, False), (False, False), (True, True)])
def test_a_message_arrives_as_it_was(data: Any, acknowledged: bool, persisted: bool) -> None:
    envelope = envelope_of(data, acknowledged=acknowledged, persisted=persisted)
    arrived, previous = decode_envelope(stored(envelope), 5)
    assert (arrived.seq, previous, arrived.was_sent) == (100, 99, False)
    assert arrived.message == envelope.without_data().message
    assert (arrived.expires_ms, arrived.acknowledged, arrived.persisted) == (60_005, acknowledged, persisted)
    assert arrived.encoder.content == envelope.encoder.content
    body = json.loads(arrived.encoder.encode(ack_retry_count=1, ack_last_sent=2))
    assert (body["data"], body["ack_retry_count"], body["ack_last_sent"]) == (data, 1, 2)
    assert "expires_ms" not in body


def test_what_was_heard_when_it_was_accepted_was_sent() -> None:
    assert decode_entry(stored(envelope_of("x")), **TIMES).was_sent


@pytest.mark.parametrize(("unread_from", "was_sent"), [(0, False), (99, False), (100, False), (101, True)])
def test_an_unheard_message_counts_as_sent_once_the_inbox_was_read(unread_from: int, was_sent: bool) -> None:
    envelope = decode_entry(stored(envelope_of("x"), unsent=True), unread_from=unread_from, **TIMES)
    assert (envelope.seq, envelope.was_sent) == (100, was_sent)


def test_a_message_lives_as_long_by_the_clock_of_the_node_as_by_that_of_the_server() -> None:
    """Published messages have their whole lifetime left, waiting ones the rest of it, even if a clock is wrong."""
    text = stored(envelope_of("x"))
    assert decode_envelope(text, 1_000)[0].expires_ms == 61_000
    assert decode_entry(text, now_ms=1_000, server_ms=60_000).expires_ms == 1_005


def test_a_message_of_an_earlier_version_has_no_seq_and_no_ttl() -> None:
    text = stored(envelope_of("x")).replace(b',"previous":99,"life_ms":60000', b"")
    arrived, previous = decode_envelope(text, 1_000)
    assert (arrived.expires_ms, arrived.seq, previous) == (60_005, 100, UNORDERED)


@pytest.mark.parametrize(
    "text",
    [*NO_OBJECTS, b'{"id":"m1"}', b'{"expires_ms":99999999999}', DEEP, NO_TEXT],
)
def test_an_invalid_message_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_entry(text, **TIMES)


@given(
    name=st.sampled_from(
        [
            "id",
            "type",
            "receiver",
            "created",
            "viewed",
            "acknowledged",
            "persisted",
            "accepted",
            "previous",
            "life_ms",
            "expires_ms",
        ]
    ),
    value=st.sampled_from([None, "x", 1.5, True, 7, [], {}, float("nan")]),
)
def test_a_field_of_another_type_is_a_value_error_or_the_right_type(name: str, value: Any) -> None:
    """Otherwise it would fail where it is compared or sent, and block all other messages of the user."""
    original = json.loads(stored(envelope_of("x")))
    text = json.dumps(original | {name: value}).replace(", ", ",").replace(": ", ":").encode()
    if type(value) is type(original[name]) or (name == "life_ms" and value is None):
        decode_entry(text, **TIMES)
    else:
        with pytest.raises(ValueError, match=name if value == value else "malformed"):
            decode_entry(text, **TIMES)


# Node messages


def test_a_node_message_has_kind_sender_and_content() -> None:
    for kind in Kind:
        message = parse_node_message(label(kind, "node-1.a") + b"con\ntent\n")
        assert message == (kind, "node-1.a", b"con\ntent\n")


@pytest.mark.parametrize("data", [b"", b"hello", b"M", b"Xnode\ncontent", b"\n", b"M\xff\ncontent"])
def test_an_invalid_label_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_node_message(data)


# Publications and notices

PUBLICATION = Publication(
    message_id="m1",
    destination="/topic/消息",
    body=b"\n\xff\n",
    content_type="text/plain",
    headers=(("redelivered", "true"), ("x", "a\nb")),
    binary=True,
)


def test_a_publication_arrives_as_it_was() -> None:
    assert decode_publication(encode_publication(PUBLICATION)) == PUBLICATION


def test_a_publication_has_the_seq_that_the_server_wrote_into_it() -> None:
    content = encode_publication(PUBLICATION)
    assert decode_publication(b'{"seq":5,' + content[1:]) == replace(PUBLICATION, seq=5)


@pytest.mark.parametrize("withdrawn", [(), ("a", "b")])
def test_a_notice_arrives_as_it_was(withdrawn: tuple[str, ...]) -> None:
    notice = Notice(user="ann", publication=PUBLICATION, withdrawn=withdrawn)
    assert decode_notice(encode_notice(notice)) == notice


@pytest.mark.parametrize("decode", [decode_publication, decode_notice])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}\n",
        b"[]\n",
        b"null",
        b'{"message_id":"m","user":"a","withdrawn":1}\nbody',
        b"\xff\n",
        encode_publication(PUBLICATION).replace(b"{", b'{"seq":[],', 1),
    ],
)
def test_an_invalid_publication_is_a_value_error(decode: Any, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(content)
