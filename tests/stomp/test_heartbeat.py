"""1.2, "Heart-beating"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stomp.errors import ProtocolError
from app.stomp.heartbeat import (
    LOST,
    NOTHING,
    SEND,
    SILENT_INTERVALS,
    Due,
    Heartbeat,
    HeartbeatTimer,
    parse_heartbeat,
)

INTERVALS = st.integers(0, 10**10 - 1)


@pytest.mark.parametrize(
    ("server", "client", "agreed"),
    [
        (Heartbeat(10_000, 10_000), Heartbeat(0, 0), Heartbeat(0, 0)),
        (Heartbeat(0, 0), Heartbeat(10_000, 10_000), Heartbeat(0, 0)),
        # "MAX(<cx>,<sy>)", each way on its own
        (Heartbeat(10_000, 20_000), Heartbeat(30_000, 5_000), Heartbeat(10_000, 30_000)),
        (Heartbeat(10_000, 20_000), Heartbeat(1, 40_000), Heartbeat(40_000, 20_000)),
        # "there will be none" if either declines
        (Heartbeat(10_000, 10_000), Heartbeat(10_000, 0), Heartbeat(0, 10_000)),
        (Heartbeat(10_000, 10_000), Heartbeat(0, 10_000), Heartbeat(10_000, 0)),
        (Heartbeat(0, 10_000), Heartbeat(10_000, 10_000), Heartbeat(0, 10_000)),
        (Heartbeat(10_000, 0), Heartbeat(10_000, 10_000), Heartbeat(10_000, 0)),
    ],
)
def test_both_sides_agree_on_the_slower_of_what_one_can_and_the_other_wants(
    server: Heartbeat, client: Heartbeat, agreed: Heartbeat
) -> None:
    assert server.agree(client) == agreed


@given(server=st.builds(Heartbeat, INTERVALS, INTERVALS), client=st.builds(Heartbeat, INTERVALS, INTERVALS))
def test_both_sides_come_to_the_same_agreement(server: Heartbeat, client: Heartbeat) -> None:
    here, there = server.agree(client), client.agree(server)
    assert (here.send_ms, here.receive_ms) == (there.receive_ms, there.send_ms)


@given(offer=st.builds(Heartbeat, INTERVALS, INTERVALS))
def test_a_heartbeat_header_is_read_as_it_is_written(offer: Heartbeat) -> None:
    assert parse_heartbeat(str(offer)) == offer


def test_a_heartbeat_header_names_first_what_the_sender_can_do() -> None:
    assert str(Heartbeat(send_ms=1, receive_ms=2)) == "1,2"
    assert parse_heartbeat(" 1 , 2 ") == Heartbeat(send_ms=1, receive_ms=2)


@pytest.mark.parametrize(
    "value",
    ["", "1", ",", "1,", ",1", "1,2,3", "-1,0", "0,-1", "+1,0", "1.5,0", "a,b", "²,0", "0,٣", "1 0,0", "9" * 11 + ",0"],
)
def test_another_heartbeat_header_is_refused(value: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_heartbeat(value)
    assert caught.value.message == "bad heart-beat"
    assert repr(value) in caught.value.detail


def test_a_long_heartbeat_header_is_quoted_only_in_part() -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_heartbeat("1" * 8000)
    assert len(caught.value.detail) < 100


AGREED = Heartbeat(send_ms=10_000, receive_ms=2_000)


def check(agreed: Heartbeat, *, silent_s: float = 0, idle_s: float = 0, late_s: float = 0) -> Due:
    """Return what is due for these times since data was received and since data was sent."""
    timer = HeartbeatTimer(agreed, 1_000.0 - idle_s)
    return timer.check(1_000.0, late_s, 1_000.0 - silent_s, False)[0]


def test_nothing_is_due_on_a_busy_connection() -> None:
    assert check(AGREED, silent_s=0, idle_s=0, late_s=1) is NOTHING


def test_nothing_is_due_without_agreed_heartbeats() -> None:
    assert check(Heartbeat(), silent_s=1e9, idle_s=1e9, late_s=1) is NOTHING


def test_heartbeat_is_sent_if_the_next_check_would_be_too_late() -> None:
    # "the sender MUST send new data over the network connection at least every <n> milliseconds"
    assert check(AGREED, idle_s=8.999, late_s=1) is NOTHING
    assert check(AGREED, idle_s=9, late_s=1) is SEND
    assert check(AGREED, idle_s=11, late_s=1) is SEND


def test_a_client_is_lost_after_three_silent_intervals() -> None:
    # "because of timing inaccuracies, the receiver SHOULD be tolerant and take into account an error margin"
    assert SILENT_INTERVALS == 3
    assert check(AGREED, silent_s=6) is NOTHING
    assert check(AGREED, silent_s=6.001) is LOST


def test_lost_client_gets_no_heartbeat() -> None:
    assert check(AGREED, silent_s=7, idle_s=11) is LOST


def test_client_without_own_heartbeats_may_be_silent_and_still_gets_them() -> None:
    assert check(Heartbeat(send_ms=10_000), silent_s=1e9, idle_s=11) is SEND


def test_client_that_wants_no_heartbeats_gets_none_and_may_be_lost() -> None:
    assert check(Heartbeat(receive_ms=2_000), silent_s=1, idle_s=1e9) is NOTHING
    assert check(Heartbeat(receive_ms=2_000), silent_s=7, idle_s=1e9) is LOST


@pytest.mark.parametrize(
    ("agreed", "check_s"),
    [
        (Heartbeat(), None),
        (Heartbeat(send_ms=10_000), 109.5),
        (Heartbeat(receive_ms=2_000), 106),
        (Heartbeat(send_ms=200_000, receive_ms=2_000), 106),
    ],
)
def test_the_next_look_is_when_something_may_be_due(agreed: Heartbeat, check_s: float | None) -> None:
    assert HeartbeatTimer(agreed, 100).check(100, 0.5, 100, False) == (NOTHING, check_s)


@given(agreed=st.builds(Heartbeat, INTERVALS, INTERVALS), late_s=st.floats(0, 10))
def test_nothing_is_due_before_the_next_check(agreed: Heartbeat, late_s: float) -> None:
    timer = HeartbeatTimer(agreed, 0)
    sent, check_s = timer.check(0, late_s, 0, False)
    now = 10.0**9 if check_s is None else check_s - 1e-6 * max(1, abs(check_s))

    assert timer.check(now, late_s, 0, False)[0] is NOTHING
    assert sent is NOTHING or late_s >= agreed.send_ms / 1000


def test_timer_of_a_quiet_session_sends_a_beat_and_looks_again_when_the_next_is_due() -> None:
    timer = HeartbeatTimer(Heartbeat(send_ms=10_000), 100)

    assert timer.check(109, 1, 100, False) == (SEND, 118)
    assert timer.check(117, 1, 100, False) == (NOTHING, 118)


def test_timer_of_a_busy_session_takes_what_was_sent_for_as_old_as_it_may_be() -> None:
    timer = HeartbeatTimer(Heartbeat(send_ms=10_000), 100)

    assert timer.check(102, 1, 100, True) == (NOTHING, 104.5)
    assert timer.check(104.5, 1, 100, True) == (NOTHING, 107)
    assert timer.check(107, 1, 100, False) == (NOTHING, 111)
    assert timer.check(111, 1, 100, False) == (SEND, 120)


def test_timer_finds_a_client_lost_whatever_it_was_sent() -> None:
    timer = HeartbeatTimer(Heartbeat(receive_ms=2_000), 100)

    assert timer.check(110, 1, 104, True) == (NOTHING, 110)
    assert timer.check(110.1, 1, 104, False) == (LOST, None)


def test_timer_has_nothing_to_do_where_nothing_was_agreed() -> None:
    assert HeartbeatTimer(Heartbeat(), 100).check(1000, 1, 100, True) == (NOTHING, None)
