"""The order in which the items of a batch are pushed."""

import pytest

from app.errors import InvalidMessage
from app.push.batch import by_receiver
from app.push.request import PushRequest, read_push

BROKEN = InvalidMessage("receiver: Input should be a valid string")


def to(receiver: str | None, message_id: str | None = None) -> PushRequest:
    return read_push({"receiver": receiver, "data": "", "id": message_id})


@pytest.mark.parametrize(
    ("items", "order"),
    [
        ([to("a"), to("b"), to("a"), to("b")], [0, 2, 1, 3]),
        ([to("a"), to("b"), to(None), to("a"), to("b"), to("a")], [0, 1, 2, 3, 5, 4]),
        ([], []),
        ([to(None), to(None)], [0, 1]),
        ([to("b"), BROKEN, to("a"), to("b")], [0, 1, 2, 3]),
        ([to("e\u0301"), to("b"), to("\u00e9")], [0, 2, 1]),
        ([to("b"), to("a", "1"), to("b", "1"), BROKEN], [0, 1, 2, 3]),
    ],
)
def test_items_of_one_receiver_come_together_but_pass_no_broadcast(
    items: list[PushRequest | InvalidMessage], order: list[int]
) -> None:
    assert [*by_receiver(items)] == order
