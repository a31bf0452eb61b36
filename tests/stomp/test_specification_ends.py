"""The STOMP specifications, section by section, through the gateway: transactions, DISCONNECT, frames of the server."""

import pytest

from app.stomp.frames import Version
from tests.gateway.conversation import Stage, settle
from tests.stomp.stage import EVERY_VERSION, MESSAGES, SINCE_1_1, TOPIC, V10, Notes, connected, message_on, raw, refusal

# BEGIN, COMMIT, ABORT


@EVERY_VERSION
@pytest.mark.parametrize("command", ["BEGIN", "COMMIT", "ABORT"])
async def test_transactions_have_names(version: Version, command: str, stage: Stage) -> None:
    # 1.2: "The transaction header is REQUIRED"
    await refusal(await connected(stage, version), f"{command}\n\n\0".encode())


@EVERY_VERSION
@pytest.mark.parametrize("frame", ["COMMIT\n", "ABORT\n", "SEND\ndestination:/app/note\n"])
async def test_a_transaction_that_was_not_begun_is_refused(version: Version, frame: str, stage: Stage) -> None:
    # 1.2: "MUST specify the identifier of the transaction to commit", "[...] to abort"
    await refusal(await connected(stage, version), f"{frame}transaction:1\n\n\0".encode())


@EVERY_VERSION
async def test_transaction_names_are_unique(version: Version, stage: Stage) -> None:
    # 1.2: "Within the same connection, different transactions MUST use different transaction identifiers."
    peer = await connected(stage, version)
    await refusal(peer, b"BEGIN\ntransaction:1\n\n\0BEGIN\ntransaction:1\n\n\0")


@EVERY_VERSION
@pytest.mark.parametrize(("command", "bodies"), [("COMMIT", [b"1", b"2"]), ("ABORT", [])])
async def test_transaction_is_executed_at_commit_or_not_at_all(
    version: Version, command: str, bodies: list[bytes], stage: Stage, notes: Notes
) -> None:
    # 1.2: "any messages sent or acknowledged during a transaction will be processed atomically based on the
    # transaction"
    peer = await connected(stage, version)
    await peer.talk("BEGIN", {"transaction": "1"})
    for body in ("1", "2"):
        await peer.talk("SEND", {"destination": "/app/note", "transaction": "1"}, body)
    assert notes.bodies == []
    await peer.talk(command, {"transaction": "1"})
    assert notes.bodies == bodies


@EVERY_VERSION
@pytest.mark.parametrize("ends_with", ["DISCONNECT", "failure"])
async def test_open_transaction_is_aborted_when_the_session_ends(
    version: Version, ends_with: str, stage: Stage, notes: Notes
) -> None:
    # 1.2: "Any started transactions which have not been committed will be implicitly aborted if the client sends a
    # DISCONNECT frame or if the TCP connection fails for any reason."
    peer = await connected(stage, version)
    await peer.talk("BEGIN", {"transaction": "1"})
    await peer.talk("SEND", {"destination": "/app/note", "transaction": "1"}, "x")
    if ends_with == "DISCONNECT":
        await peer.talk("DISCONNECT")
    peer.connection.closed()
    await settle()
    assert notes.bodies == []


# DISCONNECT


@EVERY_VERSION
async def test_disconnect_is_confirmed_after_all_that_was_sent(version: Version, stage: Stage, notes: Notes) -> None:
    # 1.2: "the client is assured that all previous frames have been received by the server"
    peer = await connected(stage, version)
    frames = await raw(
        peer,
        b"SEND\ndestination:/app/note\nreceipt:1\n\nx\0DISCONNECT\nreceipt:77\n\n\0SEND\ndestination:/app/note\n\ny\0",
    )
    assert [frame.headers["receipt-id"] for frame in frames] == ["1", "77"]
    assert peer.close_code == 1000
    assert notes.bodies == [b"x"]  # "Clients MUST NOT send any more frames after the DISCONNECT frame is sent."


# MESSAGE


@EVERY_VERSION
async def test_message_names_destination_id_and_subscription(version: Version, stage: Stage) -> None:
    # 1.2: "The MESSAGE frame MUST include a destination header"; "MUST also contain a message-id header with a unique
    # identifier for that message and a subscription header matching the identifier of the subscription"
    peer = await connected(stage, version)
    await peer.subscribe(TOPIC, "the:id")
    messages = [(await peer.talk("SEND", {"destination": TOPIC}, "x"))[0] for _ in range(3)]
    assert {message.headers["destination"] for message in messages} == {TOPIC}
    assert {message.headers["subscription"] for message in messages} == {"the:id"}
    assert len({message.headers["message-id"] for message in messages}) == 3


async def test_1_0_may_subscribe_without_an_id(stage: Stage) -> None:
    # 1.0: a MESSAGE names its subscription only if the SUBSCRIBE had an id
    peer = await connected(stage, V10)
    await peer.talk("SUBSCRIBE", {"destination": TOPIC})
    (message,) = await peer.talk("SEND", {"destination": TOPIC}, "x")
    assert message.headers["destination"] == TOPIC
    assert "subscription" not in message.headers


@pytest.mark.parametrize("mode", ["client", "client-individual"])
async def test_message_that_requires_an_ack_has_an_ack_header(mode: str, stage: Stage) -> None:
    # 1.2: "If the message is received from a subscription that requires explicit acknowledgment [...] then the MESSAGE
    # frame MUST also contain an ack header with an arbitrary value."
    peer = await connected(stage)
    await peer.subscribe(MESSAGES, ack=mode)
    message = await message_on(peer, stage)
    await peer.talk("ACK", {"id": message.headers["ack"]})
    assert stage.acks.open_records == 0


# RECEIPT


async def test_a_receipt_covers_all_frames_before_it(stage: Stage, notes: Notes) -> None:
    # 1.2: "A RECEIPT frame MUST include the header receipt-id"; "the receipt is also a cumulative acknowledgment that
    # all the previous frames have been received by the server"
    peer = await connected(stage)
    for number in range(9):
        peer.send("SEND", {"destination": "/app/note"}, str(number))
    (receipt,) = await peer.talk("SEND", {"destination": "/app/note", "receipt": "r"}, "9")
    assert receipt.headers["receipt-id"] == "r"
    assert notes.bodies == [b"%d" % number for number in range(10)]


async def test_received_frames_are_processed_although_the_client_disconnects(stage: Stage, notes: Notes) -> None:
    # 1.2: "If the client disconnects, previously received frames SHOULD continue to get processed by the server."
    stage = Stage(routes=notes, inbound_rate=4, inbound_burst=2)
    peer = await connected(stage)
    peer.connection.receive(b"SEND\ndestination:/app/note\n\nx\0" * 4)
    peer.connection.closed()
    assert len(notes.bodies) == 1
    stage.pass_time(1)
    assert len(notes.bodies) == 4


# ERROR


@EVERY_VERSION
@pytest.mark.parametrize(
    "frame",
    [
        b"FOO\nreceipt:message-12345\n\n\0",
        b"SEND\nreceipt:message-12345\n\n\0",
        b"SEND\ndestination:/queue/a\nreceipt:message-12345\n\n\0",
        b"SEND\ndestination:/app/note\nreceipt:message-12345\nno colon\n\n\0",
        b"SEND\ndestination:/app/note\nreceipt:message-12345\ncontent-length:x\n\n\0",
        b"SEND\ndestination:/app/note\nreceipt:message-12345\n\n" + b"x" * 300_000 + b"\0",
    ],
)
async def test_error_has_the_receipt_id_of_the_frame_and_a_close_follows(
    version: Version, frame: bytes, stage: Stage, notes: Notes
) -> None:
    # 1.2: "it MUST then close the connection just after sending the ERROR frame"; "The ERROR frame SHOULD contain a
    # message header"; "the ERROR frame SHOULD set the receipt-id header to match the value of the receipt header"
    peer = await connected(stage, version)
    error = await refusal(peer, frame + b"SEND\ndestination:/app/note\n\n\0")
    assert error.headers["receipt-id"] == "message-12345"
    assert error.headers["message"]
    assert error.body
    assert notes.bodies == []


@SINCE_1_1
async def test_error_about_an_escape_has_the_receipt_id_of_the_frame(version: Version, stage: Stage) -> None:
    peer = await connected(stage, version)
    error = await refusal(peer, b"SEND\ndestination:/app/note\nx:\\t\nreceipt:message-12345\n\n\0")
    assert error.headers["receipt-id"] == "message-12345"


# Augmented BNF


@EVERY_VERSION
@pytest.mark.parametrize("line", [b"no colon", b":no name"])
async def test_a_header_is_a_name_a_colon_and_a_value(version: Version, line: bytes, stage: Stage) -> None:
    # 1.2: 'header = header-name ":" header-value'; 'header-name = 1*<any OCTET except CR or LF or ":">'
    await refusal(await connected(stage, version), b"SEND\ndestination:/app/note\n" + line + b"\n\n\0")


async def test_a_cr_stands_before_lf_alone_in_1_2(stage: Stage) -> None:
    # 1.2: 'EOL = [CR] LF'; no header holds a CR
    await refusal(await connected(stage), b"SEND\ndestination:/app/note\nx:a\rb\n\n\0")
