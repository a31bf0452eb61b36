"""Attempts per second and address."""

from app.connections.attempts import BURST_S, SWEEP_WATERMARK, Attempts


def test_attempts_of_ten_seconds_may_come_at_once_before_the_rate_limits() -> None:
    attempts = Attempts(2)

    assert [attempts.take("a", 100.0) for _ in range(21)] == [True] * 20 + [False]
    assert attempts.take("b", 100.0)
    assert not attempts.take("a", 100.4)
    assert attempts.take("a", 100.5)
    assert not attempts.take("a", 100.5)
    assert [attempts.take("a", 200.0) for _ in range(21)] == [True] * 20 + [False]


def test_attempt_of_an_authenticated_session_is_given_back() -> None:
    attempts = Attempts(1)
    for _ in range(100):
        assert attempts.take("a", 100.0)
        attempts.give_back("a")

    attempts.give_back("unknown")
    assert [attempts.take("a", 100.0) for _ in range(11)] == [True] * 10 + [False]


def test_addresses_without_recent_attempts_are_dropped() -> None:
    attempts = Attempts(1)
    for number in range(SWEEP_WATERMARK - 1):
        attempts.take(f"old-{number}", 0.0)
    attempts.take("new", BURST_S)

    assert len(attempts) == 1


def test_zero_is_no_limit() -> None:
    attempts = Attempts(0)

    assert all(attempts.take("a", 0.0) for _ in range(1000))
    assert len(attempts) == 0
