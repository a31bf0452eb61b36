import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from app.messages.message import Envelope, MessageEncoder, NotifyMessage

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def message(data: Any = "hello", receiver: str | None = "ann", created: int = 5, id: str = "m1") -> NotifyMessage:
    return NotifyMessage(id=id, type="STRING_MSG", receiver=receiver, data=data, viewed=False, created=created)


def test_the_json_has_the_names_that_clients_know_in_their_order() -> None:
    text = MessageEncoder(message()).encode(ack_retry_count=2, ack_last_sent=77)
    assert text == (
        b'{"id":"m1","type":"STRING_MSG","receiver":"ann","data":"hello","viewed":false,"created":5,'
        b'"ack_retry_count":2,"ack_last_sent":77}'
    )


def test_a_viewed_broadcast_says_so() -> None:
    viewed = NotifyMessage(id="m1", type="STRING_MSG", receiver=None, data=None, created=5, viewed=True)
    fields = json.loads(MessageEncoder(viewed).encode(ack_retry_count=0, ack_last_sent=0))
    assert fields["receiver"] is None
    assert fields["viewed"] is True


@given(JSON_VALUES)
def test_any_json_value_comes_back_as_it_went_in(data: Any) -> None:
    fields = json.loads(MessageEncoder(message(data)).encode(ack_retry_count=1, ack_last_sent=2))
    assert fields == {
        "id": "m1",
        "type": "STRING_MSG",
        "receiver": "ann",
        "data": data,
        "viewed": False,
        "created": 5,
        "ack_retry_count": 1,
        "ack_last_sent": 2,
    }


class Order(BaseModel):
    number: int
    at: datetime


def test_data_of_an_application_may_hold_pydantic_models() -> None:
    encoder = MessageEncoder(message({"order": Order(number=1, at=datetime(2026, 1, 2))}))
    assert b'"data":{"order":{"number":1,"at":"2026-01-02T00:00:00"}}' in encoder.content


@pytest.mark.parametrize("data", [{None: 1}, {True: 1}, object()])
def test_data_that_is_no_json_is_a_clear_error(data: object) -> None:
    with pytest.raises((TypeError, ValueError), match=r"JSON|serialize"):
        MessageEncoder(message(data))


def test_text_goes_out_as_utf_8_and_not_escaped() -> None:
    assert "消息 😀".encode() in MessageEncoder(message("消息 😀")).encode(ack_retry_count=0, ack_last_sent=0)


def test_the_length_grows_with_the_body_byte_by_byte() -> None:
    assert len(MessageEncoder(message("x" * 1_000))) == len(MessageEncoder(message(""))) + 1_000


def test_the_content_is_the_same_when_a_message_is_pushed_again_later() -> None:
    assert MessageEncoder(message(created=1)).content == MessageEncoder(message(created=22)).content


@pytest.mark.parametrize(
    "other", [message("bye"), message(receiver="bob"), message(id="m2"), message('hello","created":5')]
)
def test_the_content_differs_with_the_message(other: NotifyMessage) -> None:
    assert MessageEncoder(message()).content != MessageEncoder(other).content


def test_text_that_looks_like_the_end_of_the_content_is_part_of_it() -> None:
    assert b"secret" in MessageEncoder(message({"x": 1, "created": "secret"})).content


def test_a_message_that_is_kept_keeps_its_text_and_not_its_parsed_data() -> None:
    original = Envelope(message=message({"a": 1}), encoder=MessageEncoder(message({"a": 1})), expires_ms=9)
    kept = original.without_data()
    assert kept.message.data is None
    assert kept.encoder is original.encoder
    assert (kept.receiver, kept.message.id, kept.expires_ms, kept.acknowledged) == ("ann", "m1", 9, True)
    assert original.message.data == {"a": 1}


def test_a_broadcast_has_no_receiver_to_wait_for() -> None:
    broadcast = message(receiver=None)
    with pytest.raises(AssertionError, match="no inbox"):
        _ = Envelope(message=broadcast, encoder=MessageEncoder(broadcast), expires_ms=9).receiver
