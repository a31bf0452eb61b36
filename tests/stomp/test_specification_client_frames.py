"""The STOMP specifications, section by section, through the gateway: SEND, SUBSCRIBE, UNSUBSCRIBE, ACK and NACK."""

import pytest

from app.stomp.frames import Frame, Version
from tests.gateway.conversation import Stage
from tests.stomp.stage import EVERY_VERSION, MESSAGES, SINCE_1_1, TOPIC, V10, V11, V12, connected, message_on, refusal

# Client Frames


@EVERY_VERSION
@pytest.mark.parametrize("command", [b"FOO", b"send", b"MESSAGE", b"CONNECTED", b"CONNECT"])
async def test_frames_that_are_not_a_clients_are_refused(version: Version, command: bytes, stage: Stage) -> None:
    # 1.2: "for such a frame a STOMP 1.2 server MAY respond with an ERROR frame and then close the connection"
    await refusal(await connected(stage, version), command + b"\ndestination:/app/note\n\n\0")


# SEND


@EVERY_VERSION
async def test_send_requires_a_destination(version: Version, stage: Stage) -> None:
    # 1.2: 'It has one REQUIRED header, destination, which indicates where to send the message.'
    await refusal(await connected(stage, version), b"SEND\nx:y\n\nbody\0")


@EVERY_VERSION
async def test_user_defined_headers_are_passed_through(version: Version, stage: Stage) -> None:
    # 1.2: "The user defined headers MUST be passed through in the MESSAGE frame."
    peer = await connected(stage, version)
    await peer.subscribe(TOPIC)
    headers = {"destination": TOPIC, "priority": "9", "x-colon": "a:b", "content-type": "text/html"}
    (message,) = await peer.talk("SEND", headers, "body")
    assert {name: message.headers[name] for name in headers} == headers


@EVERY_VERSION
async def test_a_send_that_cannot_be_processed_is_an_error(version: Version, stage: Stage) -> None:
    # 1.2: "If the server cannot successfully process the SEND frame for any reason, the server MUST send the client an
    # ERROR frame and then close the connection." (A client that subscribes to /user/queue/errors chose to go on
    # instead.)
    peer = await connected(stage, version)
    error = await refusal(peer, b"SEND\ndestination:/app/nobody\nreceipt:1\n\n\0")
    assert error.headers["receipt-id"] == "1"


# SUBSCRIBE


@EVERY_VERSION
async def test_subscribe_requires_a_destination(version: Version, stage: Stage) -> None:
    # 1.2: "Like the SEND frame, the SUBSCRIBE frame requires a destination header"
    await refusal(await connected(stage, version), b"SUBSCRIBE\nid:1\n\n\0")


@SINCE_1_1
async def test_subscribe_requires_an_id(version: Version, stage: Stage) -> None:
    # 1.2: "an id header MUST be included in the frame to uniquely identify the subscription"
    await refusal(await connected(stage, version), b"SUBSCRIBE\ndestination:/topic/a\n\n\0")


@EVERY_VERSION
async def test_subscription_ids_are_unique(version: Version, stage: Stage) -> None:
    # 1.2: "Within the same connection, different subscriptions MUST use different subscription identifiers."
    peer = await connected(stage, version)
    await peer.subscribe(TOPIC, "1")
    await refusal(peer, b"SUBSCRIBE\nid:1\ndestination:/topic/b\n\n\0")


@EVERY_VERSION
@pytest.mark.parametrize("destination", ["/topic/*", "/topic/#", "/queue/a", "/user/bob/queue/msg"])
async def test_a_subscription_that_cannot_be_created_is_an_error(
    version: Version, destination: str, stage: Stage
) -> None:
    # 1.2: "If the server cannot successfully create the subscription, the server MUST send the client an ERROR frame
    # and then close the connection."
    await refusal(await connected(stage, version), f"SUBSCRIBE\nid:1\ndestination:{destination}\n\n\0".encode())


@EVERY_VERSION
async def test_ack_is_one_of_the_modes(version: Version, stage: Stage) -> None:
    # 1.2: "The valid values for the ack header are auto, client, or client-individual."
    peer = await connected(stage, version)
    await refusal(peer, b"SUBSCRIBE\nid:1\ndestination:/topic/a\nack:sometimes\n\n\0")


@pytest.mark.parametrize("mode", [None, "auto"])
async def test_auto_is_the_default_and_requires_no_ack(mode: str | None, stage: Stage) -> None:
    # 1.2: "If the header is not set, it defaults to auto." "the client does not need to send the server ACK frames"
    peer = await connected(stage)
    await peer.subscribe(MESSAGES, **({} if mode is None else {"ack": mode}))
    assert "ack" not in (await message_on(peer, stage)).headers


def ack_of(message: Frame) -> dict[str, str]:
    """The headers of an ACK in every version: 1.2 has `id`, 1.1 both others, 1.0 the first of these."""
    headers = {name: message.headers[name] for name in ("message-id", "subscription")}
    return headers | ({"id": message.headers["ack"]} if "ack" in message.headers else {})


@EVERY_VERSION
@pytest.mark.parametrize(("mode", "left"), [("client", 1), ("client-individual", 3)])
async def test_ack_is_cumulative_in_client_mode_alone(version: Version, mode: str, left: int, stage: Stage) -> None:
    # 1.2: "The ACK frames sent by the client will be treated as a cumulative acknowledgment." client-individual: "an
    # ACK or NACK frame for a subsequent message MUST NOT cause a previous message to get acknowledged"
    peer = await connected(stage, version)
    await peer.subscribe(MESSAGES, ack=mode)
    messages = [await message_on(peer, stage, number) for number in range(4)]
    assert stage.acks.open_records == 4
    await peer.talk("ACK", ack_of(messages[2]))
    assert stage.acks.open_records == left


# UNSUBSCRIBE


@SINCE_1_1
async def test_unsubscribe_requires_an_id(version: Version, stage: Stage) -> None:
    # 1.2: "an id header MUST be included in the frame to uniquely identify the subscription to remove"
    peer = await connected(stage, version)
    await peer.subscribe(TOPIC)
    await refusal(peer, b"UNSUBSCRIBE\ndestination:/topic/a\n\n\0")


@EVERY_VERSION
async def test_unsubscribe_of_an_unknown_subscription_is_refused(version: Version, stage: Stage) -> None:
    # 1.2: "This header MUST match the subscription identifier of an existing subscription."
    error = await refusal(await connected(stage, version), b"UNSUBSCRIBE\nid:1\nreceipt:2\n\n\0")
    assert error.headers["receipt-id"] == "2"


@EVERY_VERSION
async def test_ended_subscription_receives_nothing(version: Version, stage: Stage) -> None:
    # 1.2: "Once the subscription is removed the STOMP connections will no longer receive messages from that
    # subscription."
    peer = await connected(stage, version)
    await peer.subscribe(TOPIC, "1")
    await peer.subscribe(TOPIC, "2")
    await peer.talk("UNSUBSCRIBE", {"id": "1"})
    messages = await peer.talk("SEND", {"destination": TOPIC}, "x")
    assert [message.headers["subscription"] for message in messages] == ["2"]


@pytest.mark.parametrize("subscribed", [{}, {"id": "1"}])
async def test_1_0_ends_a_subscription_by_its_destination(subscribed: dict[str, str], stage: Stage) -> None:
    # 1.0: "It requires either a destination header or an id header (if the previous SUBSCRIBE operation passed an id
    # value)."
    peer = await connected(stage, V10)
    await peer.talk("SUBSCRIBE", {"destination": TOPIC} | subscribed)
    assert len(await peer.talk("SEND", {"destination": TOPIC}, "x")) == 1
    await peer.talk("UNSUBSCRIBE", {"destination": TOPIC})
    assert await peer.talk("SEND", {"destination": TOPIC}, "x") == []


@pytest.mark.parametrize("subscribed", [{}, {"id": "1"}])
async def test_1_0_ends_a_subscription_by_another_spelling_of_its_destination(
    subscribed: dict[str, str], stage: Stage
) -> None:
    peer = await connected(stage, V10)
    await peer.talk("SUBSCRIBE", {"destination": "/topic/e\u0301"} | subscribed)
    await peer.talk("UNSUBSCRIBE", {"destination": "/topic/\u00e9"})
    assert await peer.talk("SEND", {"destination": "/topic/\u00e9"}, "x") == []


# ACK, NACK


@pytest.mark.parametrize(
    ("version", "missing"), [(V12, "id"), (V11, "message-id"), (V11, "subscription"), (V10, "message-id")]
)
async def test_ack_requires_the_message_id(version: Version, missing: str, stage: Stage) -> None:
    # 1.2: "The ACK frame MUST include an id header matching the ack header of the MESSAGE being acknowledged." 1.1:
    # "ACK has two REQUIRED headers: message-id [...] and subscription"; 1.0: "one required header, message-id"
    headers = {"id": "m/1", "message-id": "m", "subscription": "1"}
    del headers[missing]
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    await refusal(await connected(stage, version), f"ACK\n{lines}\n\0".encode())


@SINCE_1_1
async def test_nacked_message_is_sent_again_later(version: Version, stage: Stage) -> None:
    # 1.2: "NACK is the opposite of ACK. It is used to tell the server that the client did not consume the message. The
    # server can then either send the message to a different client, discard it, or put it in a dead letter queue."
    peer = await connected(stage, version)
    await peer.subscribe(MESSAGES, ack="client-individual")
    message = await message_on(peer, stage)
    (receipt,) = await peer.talk("NACK", ack_of(message) | {"receipt": "1"})
    assert receipt.command == "RECEIPT"
    assert stage.acks.open_records == 1


async def test_nack_is_unknown_in_1_0(stage: Stage) -> None:
    await refusal(await connected(stage, V10), b"NACK\nmessage-id:m\n\n\0")
