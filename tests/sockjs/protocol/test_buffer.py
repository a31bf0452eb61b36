"""A session over many requests, without requests: time is in the hands of the test."""

import pytest

from app.sockjs.protocol.buffer import BufferLimits, Due, SessionBuffer, Timing

TIMING = Timing(heartbeat_s=25, disconnect_delay_s=30)
PLENTY = 1_000_000


def new(timing: Timing = TIMING, **limits: int) -> SessionBuffer:
    return SessionBuffer(timing=timing, limits=BufferLimits(**limits), now=0)


def opened(timing: Timing = TIMING, **limits: int) -> SessionBuffer:
    """Attached, and the client knows that it is open."""
    session = new(timing, **limits)
    assert session.attach(0) is None
    assert session.next_frame(PLENTY, 0) == b"o"
    return session


def test_open_frame_comes_first_and_once() -> None:
    session = new()
    session.offer(b'"early"')
    session.attach(0)

    assert session.has_frame(0)
    assert [session.next_frame(PLENTY, 0) for _ in range(3)] == [b"o", b'a["early"]', None]
    assert not session.has_frame(0)


def test_messages_that_wait_go_together() -> None:
    session = opened()
    for message in (b'"a"', b'"b"'):
        session.offer(message)

    assert session.has_frame(0)
    assert session.next_frame(PLENTY, 0) == b'a["a","b"]'


@pytest.mark.parametrize(
    ("max_bytes", "frames"),
    [
        (1, [b'a["aa"]', b'a["bb"]', b'a["cc"]']),
        (9, [b'a["aa","bb"]', b'a["cc"]']),
        (PLENTY, [b'a["aa","bb","cc"]']),
    ],
)
def test_frame_is_bounded_but_one_message_always_fits(max_bytes: int, frames: list[bytes]) -> None:
    session = opened()
    for message in (b'"aa"', b'"bb"', b'"cc"'):
        session.offer(message)

    assert [session.next_frame(max_bytes, 0) for _ in frames] == frames
    assert session.next_frame(max_bytes, 0) is None


def test_messages_wait_for_the_next_request() -> None:
    session = opened()
    session.detach(1)
    session.offer(b'"a"')
    assert session.attach(2) is None

    assert session.next_frame(PLENTY, 2) == b'a["a"]'


def test_second_request_is_refused_while_the_first_is_there() -> None:
    session = opened()

    assert session.attach(1) == b'c[2010,"Another connection still open"]'
    assert session.is_attached
    session.detach(2)
    assert not session.is_attached
    assert session.attach(2) is None


# The end


def test_close_comes_after_what_was_sent_and_ends_the_request() -> None:
    session = opened()
    session.offer(b'"a"')
    session.close(3000, "Go away!", now=1)

    assert session.is_closed
    assert session.next_frame(PLENTY, 1) == b'a["a"]'
    assert session.next_frame(PLENTY, 1) == b'c[3000,"Go away!"]'
    assert not session.is_attached


def test_close_frame_is_served_to_whoever_asks_again() -> None:
    session = new()
    session.close(3000, "Go away!", now=0)
    session.attach(0)
    assert session.next_frame(PLENTY, 0) == b"o"
    for _ in range(3):
        session.detach(0)
        assert session.attach(0) is None
        assert session.next_frame(PLENTY, 0) == b'c[3000,"Go away!"]'


def test_first_close_counts() -> None:
    session = opened()
    session.close(3000, "one", now=0)
    session.close(3001, "two", now=0)

    assert session.next_frame(PLENTY, 0) == b'c[3000,"one"]'


def test_what_waits_for_a_slow_client_is_dropped() -> None:
    session = opened()
    session.offer(b'"a"')
    session.close(4008, "slow", now=0, drop=True)

    assert session.next_frame(PLENTY, 0) == b'c[4008,"slow"]'


# Time


def test_silence_is_broken_by_a_heartbeat() -> None:
    session = opened()
    assert session.tick(24.9) is None
    assert session.next_frame(PLENTY, 24.9) is None
    assert session.tick(25) is Due.HEARTBEAT
    assert session.has_frame(25)
    assert session.next_frame(PLENTY, 25) == b"h"

    assert session.next_frame(PLENTY, 25) is None
    assert session.tick(49.9) is None
    assert session.tick(50) is Due.HEARTBEAT


def test_whatever_is_sent_puts_the_heartbeat_off() -> None:
    session = opened()
    session.offer(b'"a"')
    session.next_frame(PLENTY, 20)

    assert session.tick(44) is None
    assert session.tick(45) is Due.HEARTBEAT


def test_client_that_does_not_come_back_is_given_up() -> None:
    session = opened()
    session.detach(100)

    assert session.tick(129.9) is None
    assert session.tick(130) is Due.EXPIRED


def test_client_that_never_came_is_given_up() -> None:
    assert new().tick(30) is Due.EXPIRED


@pytest.mark.parametrize(("delay_s", "lives_s"), [(30, 5), (2, 2)])
def test_closed_session_says_so_for_a_while(delay_s: float, lives_s: float) -> None:
    session = opened(Timing(disconnect_delay_s=delay_s))
    session.detach(0)
    session.close(3000, "Go away!", now=1)

    assert session.tick(1 + lives_s - 0.1) is None
    assert session.tick(1 + lives_s) is Due.EXPIRED


def test_closed_session_waits_for_the_request_that_it_has() -> None:
    session = opened()
    session.close(3000, "Go away!", now=1)

    assert session.tick(20) is None


# Limits


def test_messages_that_wait_are_counted() -> None:
    session = opened(max_messages=2)

    assert [session.offer(b'"a"') for _ in range(3)] == [True, True, False]


def test_bytes_that_wait_are_counted_but_one_message_always_fits() -> None:
    session = opened(max_bytes=10)

    assert session.offer(b"x" * 100)
    assert not session.offer(b"x")
    session.next_frame(PLENTY, 0)
    assert session.offer(b"x" * 5)
    assert session.offer(b"x" * 5)
    assert not session.offer(b"x")


def test_room_is_less_than_half_full() -> None:
    session = opened(max_messages=4, max_bytes=100)
    session.offer(b'"a"')
    assert session.has_room
    session.offer(b'"b"')
    assert not session.has_room
    session.next_frame(PLENTY, 0)
    assert session.has_room
    session.offer(b"x" * 50)
    assert not session.has_room
