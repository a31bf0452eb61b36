import pytest

from app.delivery.retry import Retry, RetryPolicy, plan_retry

POLICY = RetryPolicy(wait_s=5, interval_s=5, max_retries=3)


@pytest.mark.parametrize(
    ("now_s", "retries", "decision"),
    [
        (5.0, 0, Retry.RESEND),
        (59.9, 2, Retry.RESEND),
        (60.0, 0, Retry.EXPIRE),
        (61.0, 0, Retry.EXPIRE),
        (5.0, 3, Retry.EXPIRE),
        (5.0, 4, Retry.EXPIRE),
    ],
)
def test_a_due_record_is_sent_again_until_its_time_or_its_retries_are_used_up(
    now_s: float, retries: int, decision: Retry
) -> None:
    assert plan_retry(now_s=now_s, expires_s=60.0, retries=retries, policy=POLICY) is decision


def test_without_retries_the_first_look_gives_up() -> None:
    assert plan_retry(now_s=5, expires_s=60, retries=0, policy=RetryPolicy(max_retries=0)) is Retry.EXPIRE


def test_the_default_policy_is_that_of_the_service() -> None:
    assert RetryPolicy() == RetryPolicy(wait_s=5.0, interval_s=5.0, max_retries=12)
