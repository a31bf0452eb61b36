import pytest

from app.disconnects import SLOW_CONSUMER
from app.hub.outbox import Outbox, OutboxLimits


def test_frames_come_out_in_the_order_in_which_they_went_in() -> None:
    outbox = Outbox(OutboxLimits())
    assert outbox.offer(b"a") is None
    assert outbox.offer(b"bc", binary=True) is None
    assert (len(outbox), outbox.size_bytes) == (2, 3)
    assert outbox.take() == (b"a", False)
    assert outbox.take() == (b"bc", True)
    assert (len(outbox), outbox.size_bytes) == (0, 0)


def test_one_frame_too_many_ends_the_connection_and_is_not_taken() -> None:
    outbox = Outbox(OutboxLimits(max_frames=2, max_bytes=100))
    outbox.offer(b"a")
    assert outbox.offer(b"b") is None
    assert outbox.offer(b"c") is SLOW_CONSUMER
    assert (len(outbox), outbox.size_bytes) == (2, 2)


def test_one_byte_too_many_ends_the_connection_and_is_not_taken() -> None:
    outbox = Outbox(OutboxLimits(max_frames=100, max_bytes=4))
    outbox.offer(b"aa")
    assert outbox.offer(b"bb") is None
    assert outbox.offer(b"c") is SLOW_CONSUMER
    assert outbox.size_bytes == 4


def test_a_frame_that_is_larger_than_the_limit_fits_when_it_is_alone() -> None:
    outbox = Outbox(OutboxLimits(max_frames=100, max_bytes=4))
    assert outbox.offer(b"12345") is None
    assert outbox.offer(b"") is SLOW_CONSUMER


def test_taking_makes_room_again() -> None:
    outbox = Outbox(OutboxLimits(max_frames=1))
    outbox.offer(b"a")
    outbox.take()
    assert outbox.offer(b"b") is None


def test_there_is_nothing_to_take_from_an_empty_outbox() -> None:
    with pytest.raises(IndexError):
        Outbox(OutboxLimits()).take()


def test_clearing_gives_everything_back() -> None:
    outbox = Outbox(OutboxLimits())
    outbox.offer(b"abc")
    outbox.clear()
    assert (len(outbox), outbox.size_bytes, outbox.has_room) == (0, 0, True)


def test_there_is_room_while_less_than_half_the_frames_wait() -> None:
    outbox = Outbox(OutboxLimits(max_frames=4))
    room = []
    for _ in range(3):
        room.append(outbox.has_room)
        outbox.offer(b"")
    assert [*room, outbox.has_room] == [True, True, False, False]


def test_there_is_room_while_less_than_half_the_bytes_wait() -> None:
    outbox = Outbox(OutboxLimits(max_bytes=4))
    room = []
    for _ in range(3):
        room.append(outbox.has_room)
        outbox.offer(b"x")
    assert [*room, outbox.has_room] == [True, True, False, False]


def test_the_default_limits_are_those_of_the_service() -> None:
    assert OutboxLimits() == OutboxLimits(max_frames=1_000, max_bytes=1_048_576)
