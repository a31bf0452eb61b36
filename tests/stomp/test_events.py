import pytest

from app.stomp.events import Ack, Nack, Subscription
from app.stomp.frames import AckMode


@pytest.mark.parametrize("kind", [Ack, Nack])
@pytest.mark.parametrize(
    ("mode", "cumulative"), [(AckMode.CLIENT, True), (AckMode.CLIENT_INDIVIDUAL, False), (AckMode.AUTO, False)]
)
def test_only_an_ack_in_client_mode_covers_earlier_messages(kind: type[Ack], mode: AckMode, cumulative: bool) -> None:
    assert kind("m1", Subscription("0", "/topic/a", mode)).cumulative is cumulative


def test_an_ack_of_an_unknown_subscription_covers_its_message_only() -> None:
    assert not Ack("m1").cumulative


def test_a_nack_is_an_ack_that_equals_none() -> None:
    # `match` must try Nack before Ack.
    assert isinstance(Nack("m1"), Ack)
    assert Nack("m1") != Ack("m1")
