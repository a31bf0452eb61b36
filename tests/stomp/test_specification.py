"""STOMP 1.2 section by section, one test for each MUST, on the whole protocol stack; 1.0 and 1.1 where they differ.

Each test quotes the sentence that it holds the server to.
"""

import pytest

from app.gateway.routing import AppMessage, DestinationRoutes
from app.stomp.frames import Frame, Version
from tests.gateway.conversation import Peer, Stage, settle

V10, V11, V12 = Version
EVERY_VERSION = pytest.mark.parametrize("version", list(Version))
SINCE_1_1 = pytest.mark.parametrize("version", [V11, V12])

MESSAGES, TOPIC = "/user/queue/msg", "/topic/a"
CONNECT = b"CONNECT\naccept-version:1.2\nhost:stomp.test\nauthorization:Bearer alice\n"


class Notes(DestinationRoutes):
    """An application that notes what it is sent to `/app/note`."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.message("/app/note")(self.note)

    def note(self, message: AppMessage) -> None:
        self.bodies.append(message.body)
        self.headers.append(dict(message.headers))


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def stage(notes: Notes) -> Stage:
    return Stage(routes=notes)


async def connected(stage: Stage, version: Version = V12, user: str = "alice", **headers: str) -> Peer:
    peer = stage.peer(version)
    await peer.connect(user, **headers)
    return peer


async def raw(peer: Peer, data: bytes) -> list[Frame]:
    """What the server answers to these bytes."""
    peer.connection.receive(data)
    await settle()
    return peer.frames()


async def refusal(peer: Peer, data: bytes) -> Frame:
    """The one ERROR, behind which the connection is closed."""
    (error,) = await raw(peer, data)
    assert error.command == "ERROR", error
    assert peer.over
    return error


async def message_on(peer: Peer, stage: Stage, data: object = "hello") -> Frame:
    """A private message as it arrives."""
    await stage.push("alice", data)
    return peer.frame()


# STOMP Frames


@EVERY_VERSION
async def test_heads_are_utf_8_and_bodies_are_octets(version: Version, stage: Stage, notes: Notes) -> None:
    # 1.2: "The commands and headers are encoded in UTF-8." A body is any octets.
    peer = await connected(stage, version)
    await raw(peer, "SEND\ndestination:/app/note\nnamé:größe\ncontent-length:3\n\n".encode() + b"\xff\x00\xfe\0")
    assert notes.headers[0]["namé"] == "größe"
    assert notes.bodies == [b"\xff\x00\xfe"]


@EVERY_VERSION
async def test_a_head_that_is_not_utf_8_is_refused(version: Version, stage: Stage) -> None:
    await refusal(await connected(stage, version), b"SEND\ndestination:/app/note\nx:\xff\n\n\0")


@EVERY_VERSION
async def test_the_null_octet_may_be_followed_by_ends_of_lines(version: Version, stage: Stage, notes: Notes) -> None:
    # 1.2: "The body is then followed by the NULL octet. [...] The NULL octet can be optionally followed by multiple
    # EOLs."
    peer = await connected(stage, version)
    await raw(peer, b"SEND\ndestination:/app/note\n\n1\0\n\n\nSEND\ndestination:/app/note\n\n2\0\n")
    assert notes.bodies == [b"1", b"2"]


async def test_lines_may_end_with_cr_lf_in_1_2(stage: Stage, notes: Notes) -> None:
    # 1.2: "an end-of-line (EOL), which consists of an OPTIONAL carriage return (octet 13) followed by a REQUIRED line
    # feed (octet 10)"
    peer = await connected(stage)
    await raw(peer, b"SEND\r\ndestination:/app/note\r\nx:y\r\n\r\nbody\0\r\n")
    assert (notes.bodies, notes.headers[0]["x"]) == ([b"body"], "y")


async def test_lines_end_with_lf_alone_in_1_1(stage: Stage, notes: Notes) -> None:
    # 1.1, Augmented BNF: 'LF = <US-ASCII new line (line feed) (octet 10)>'; CR is an octet like any other.
    peer = await connected(stage, V11)
    await raw(peer, b"SEND\ndestination:/app/note\nx:y\r\n\nbody\0")
    assert notes.headers[0]["x"] == "y\r"


# Value Encoding


ENCODED = {V12: ("a\\cb\\nc\\\\d\\re", "a:b\nc\\d\re"), V11: ("a\\cb\\nc\\\\d", "a:b\nc\\d")}


@SINCE_1_1
async def test_headers_are_decoded(version: Version, stage: Stage, notes: Notes) -> None:
    # 1.2: "When decoding frame headers, the following transformations MUST be applied" (CR is of 1.2 alone)
    encoded, decoded = ENCODED[version]
    peer = await connected(stage, version)
    await raw(peer, f"SEND\ndestination:/app/note\n{encoded}:{encoded}\n\n\0".encode())
    assert notes.headers[0][decoded] == decoded


@SINCE_1_1
async def test_headers_are_encoded(version: Version, stage: Stage) -> None:
    # 1.2: "Conversely when encoding frame headers, the reverse transformation MUST be applied."
    encoded, _ = ENCODED[version]
    peer = await connected(stage, version)
    peer.connection.receive(f"SEND\ndestination:/app/note\nreceipt:{encoded}\n\n\0".encode())
    assert b"".join(peer.transport.sent) == f"RECEIPT\nreceipt-id:{encoded}\n\n\0".encode()


@pytest.mark.parametrize(("version", "sequence"), [(V12, "\\t"), (V12, "\\x"), (V11, "\\t"), (V11, "\\r")])
async def test_an_undefined_escape_is_fatal(version: Version, sequence: str, stage: Stage) -> None:
    # 1.2: "Undefined escape sequences such as \t (octet 92 and 116) MUST be treated as a fatal protocol error."
    await refusal(await connected(stage, version), f"SEND\ndestination:/app/note\nx:{sequence}\n\n\0".encode())


async def test_1_0_escapes_nothing(stage: Stage, notes: Notes) -> None:
    peer = await connected(stage, V10)
    (receipt,) = await raw(peer, b"SEND\ndestination:/app/note\nreceipt:a\\cb:c\\t\n\n\0")
    assert receipt.headers["receipt-id"] == "a\\cb:c\\t"


async def test_connect_and_connected_escape_nothing(stage: Stage) -> None:
    # 1.2: "All frames except the CONNECT and CONNECTED frames will also escape any carriage return, line feed or colon"
    peer = stage.peer()
    (answer,) = await raw(peer, b"CONNECT\naccept-version:1.2\nhost:h\nauthorization:Bearer a\\cb:c\n\n\0")
    assert answer.headers["user-name"] == "a\\cb:c"


@SINCE_1_1
async def test_headers_are_never_trimmed_or_padded(version: Version, stage: Stage, notes: Notes) -> None:
    # 1.2: "clients and servers MUST never trim or pad headers with spaces"
    peer = await connected(stage, version)
    await raw(peer, b"SEND\ndestination:/app/note\n padded : x \nreceipt: 1 \n\n\0")
    assert notes.headers[0][" padded "] == " x "
    assert notes.headers[0]["receipt"] == " 1 "


async def test_headers_of_1_0_are_trimmed(stage: Stage, notes: Notes) -> None:
    # 1.2: "The STOMP 1.0 specification included many example frames with padding in the headers"
    peer = await connected(stage, V10)
    await raw(peer, b"SEND\ndestination: /app/note\npadded : x \n\n\0")
    assert notes.headers[0]["padded"] == "x"


@EVERY_VERSION
async def test_commands_and_header_names_are_case_sensitive(version: Version, stage: Stage) -> None:
    # 1.2: "All commands and header names referenced in this document are case sensitive."
    await refusal(await connected(stage, version), b"SEND\nDestination:/app/note\n\n\0")


# Body


@SINCE_1_1
@pytest.mark.parametrize(
    "head",
    [
        "SUBSCRIBE\nid:1\ndestination:/topic/a",
        "UNSUBSCRIBE\nid:1",
        "BEGIN\ntransaction:1",
        "ACK\nid:m/1\nmessage-id:m\nsubscription:1",
        "NACK\nid:m/1\nmessage-id:m\nsubscription:1",
        "DISCONNECT",
    ],
)
async def test_only_send_may_have_a_body(version: Version, head: str, stage: Stage) -> None:
    # 1.2: "Only the SEND, MESSAGE, and ERROR frames MAY have a body. All other frames MUST NOT have a body."
    await refusal(await connected(stage, version), f"{head}\n\nbody\0".encode())


async def test_frames_of_the_server_without_a_body_have_none(stage: Stage) -> None:
    peer = stage.peer()
    (answer,) = await raw(peer, CONNECT + b"\n\0")
    (receipt,) = await peer.talk("SEND", {"destination": "/app/note", "receipt": "1"}, "x")
    assert (answer.command, answer.body, receipt.command, receipt.body) == ("CONNECTED", b"", "RECEIPT", b"")


# Standard Headers


@EVERY_VERSION
async def test_content_length_is_read_regardless_of_null_octets(version: Version, stage: Stage, notes: Notes) -> None:
    # 1.2: "If a content-length header is included, this number of octets MUST be read, regardless of whether or not
    # there are NULL octets in the body."
    peer = await connected(stage, version)
    await raw(peer, b"SEND\ndestination:/app/note\ncontent-length:5\n\na\0b\0c\0")
    assert notes.bodies == [b"a\0b\0c"]


@EVERY_VERSION
async def test_a_frame_still_ends_with_a_null_octet(version: Version, stage: Stage) -> None:
    # 1.2: "The frame still needs to be terminated with a NULL octet."
    await refusal(await connected(stage, version), b"SEND\ndestination:/app/note\ncontent-length:1\n\nab\0")


@EVERY_VERSION
async def test_a_body_with_null_octets_is_sent_with_its_length(version: Version, stage: Stage) -> None:
    # 1.2: "If the frame body contains NULL octets, the frame MUST include a content-length header."
    peer = await connected(stage, version)
    await peer.subscribe(TOPIC)
    (message,) = await peer.talk("SEND", {"destination": TOPIC, "content-length": "3"}, b"a\0b")
    assert (message.body, message.headers["content-length"]) == (b"a\0b", "3")


@EVERY_VERSION
async def test_what_the_server_sends_has_its_length_and_type(version: Version, stage: Stage) -> None:
    # 1.2: "If a frame body is present, the SEND, MESSAGE and ERROR frames SHOULD include a content-length header";
    # and likewise a content-type header.
    peer = await connected(stage, version)
    await peer.subscribe(MESSAGES)
    message = await message_on(peer, stage, "é")
    error = await refusal(peer, b"FOO\n\n\0")
    for frame in (message, error):
        assert frame.headers["content-length"] == str(len(frame.body))
    assert message.headers["content-type"] == "application/json"
    assert error.headers["content-type"] == "text/plain;charset=utf-8"


@EVERY_VERSION
@pytest.mark.parametrize(
    ("command", "headers"),
    [
        ("SEND", {"destination": "/app/note"}),
        ("SUBSCRIBE", {"id": "1", "destination": TOPIC}),
        ("BEGIN", {"transaction": "1"}),
        ("ACK", {"id": "m/1", "message-id": "m", "subscription": "1"}),
        ("DISCONNECT", {}),
    ],
)
async def test_any_frame_may_ask_for_a_receipt(
    version: Version, command: str, headers: dict[str, str], stage: Stage
) -> None:
    # 1.2: "Any client frame other than CONNECT MAY specify a receipt header with an arbitrary value. This will cause
    # the server to acknowledge the processing of the client frame with a RECEIPT frame"
    peer = await connected(stage, version)
    (receipt,) = await peer.talk(command, headers | {"receipt": "message-12345"})
    assert (receipt.command, dict(receipt.headers)) == ("RECEIPT", {"receipt-id": "message-12345"})


async def test_the_receipt_of_a_connect_is_no_receipt(stage: Stage) -> None:
    (answer,) = await raw(stage.peer(), CONNECT + b"receipt:1\n\n\0")
    assert answer.command == "CONNECTED"


@EVERY_VERSION
async def test_of_repeated_headers_the_first_is_used(version: Version, stage: Stage, notes: Notes) -> None:
    # 1.2: "If a client or a server receives repeated frame header entries, only the first header entry SHOULD be used"
    peer = await connected(stage, version)
    await raw(peer, b"SEND\ndestination:/app/note\nfoo:World\nfoo:Hello\n\n\0")
    assert notes.headers[0]["foo"] == "World"


# Size Limits


@pytest.mark.parametrize(
    "frame",
    [
        b"SEND\ndestination:/app/note\n" + b"x:y\n" * 100 + b"\n\0",
        b"SEND\ndestination:/app/note\nx:" + b"y" * 10_000 + b"\n\n\0",
        b"SEND\ndestination:/app/note\n\n" + b"x" * 300_000 + b"\0",
    ],
)
async def test_what_exceeds_a_limit_is_answered_and_closed(frame: bytes, stage: Stage) -> None:
    # 1.2: "If these limits are exceeded the server SHOULD send the client an ERROR frame and then close the
    # connection."
    error = await refusal(await connected(stage), frame)
    assert error.headers["message"] == "frame too large"


# Connection Lingering


async def test_clients_may_connect_and_disconnect_rapidly(stage: Stage) -> None:
    # 1.2: "STOMP servers must be able to support clients which rapidly connect and disconnect."
    for _ in range(50):
        peer = await connected(stage)
        await peer.talk("DISCONNECT")
        peer.connection.closed()
    assert len(stage.gateway) == len(stage.hub) == 0


# Connecting


@pytest.mark.parametrize("command", [b"CONNECT", b"STOMP"])
async def test_stomp_is_connect(command: bytes, stage: Stage) -> None:
    # 1.2: "STOMP servers MUST handle a STOMP frame in the same manner as a CONNECT frame."
    (answer,) = await raw(stage.peer(), CONNECT.replace(b"CONNECT", command) + b"\n\0")
    assert answer.command == "CONNECTED"


async def test_a_rejected_connection_is_told_why_and_closed(stage: Stage) -> None:
    # 1.2: "The server SHOULD respond back with an ERROR frame explaining why the connection was rejected and then
    # close"
    error = await refusal(stage.peer(), b"CONNECT\naccept-version:1.2\nhost:h\nauthorization:Bearer bad\n\n\0")
    assert error.headers["message"] == "The token is illegal"


async def test_nothing_comes_before_connect(stage: Stage) -> None:
    # 1.2: "A STOMP client initiates the stream or TCP connection to the server by sending the CONNECT frame"
    await refusal(stage.peer(), b"SEND\ndestination:/app/note\n\n\0")


@EVERY_VERSION
async def test_connected_names_the_version_and_the_server(version: Version, stage: Stage) -> None:
    # 1.2: "STOMP 1.2 servers MUST set the following headers: version"; "The field MUST contain a server-name field"
    peer = stage.peer(version)
    answer = await peer.connect()
    assert answer.headers["version"] == version
    assert answer.headers["session"]
    assert answer.headers["server"].split(" ")[0].split("/")[0] == "stomp-notify"


# Protocol Negotiation


@pytest.mark.parametrize(
    ("accepted", "version"), [("1.2", "1.2"), ("1.0,1.1,2.0", "1.1"), ("1.0,1.1,1.2", "1.2"), ("1.0", "1.0")]
)
async def test_the_highest_common_version_is_used(accepted: str, version: str, stage: Stage) -> None:
    # 1.2: "The protocol that will be used for the rest of the session will be the highest protocol version that both
    # the client and server have in common."
    peer = stage.peer(Version(version))
    (answer,) = await raw(peer, f"CONNECT\naccept-version:{accepted}\nhost:h\npasscode:alice\n\n\0".encode())
    assert answer.headers["version"] == version


async def test_without_accept_version_it_is_1_0(stage: Stage) -> None:
    # 1.2: "From STOMP 1.1 and onwards, the CONNECT frame MUST include the accept-version header."
    peer = stage.peer(V10)
    (answer,) = await raw(peer, b"CONNECT\nlogin: alice\npasscode: alice\n\n\0")
    assert (answer.command, answer.headers["version"], answer.headers["user-name"]) == ("CONNECTED", "1.0", "alice")


async def test_no_common_version_is_answered_with_those_of_the_server(stage: Stage) -> None:
    # 1.2: "If the client and server do not share any common protocol versions, then the server MUST respond with an
    # ERROR frame similar to the following and then close the connection: ERROR version:1.2,2.1 content-type:text/plain"
    error = await refusal(stage.peer(), b"CONNECT\naccept-version:2.0\nhost:h\npasscode:alice\n\n\0")
    assert error.headers["version"] == "1.0,1.1,1.2"
    assert error.headers["content-type"].startswith("text/plain")


# Heart-beating


@SINCE_1_1
@pytest.mark.parametrize("value", ["1", "a,b", "1,2,3", "-1,0", ","])
async def test_heart_beat_is_two_numbers(version: Version, value: str, stage: Stage) -> None:
    # 1.2: "the heart-beat header MUST contain two positive integers separated by a comma"
    frame = f"CONNECT\naccept-version:{version}\nhost:h\npasscode:alice\nheart-beat:{value}\n\n\0"
    await refusal(stage.peer(version), frame.encode())


@SINCE_1_1
@pytest.mark.parametrize("header", [b"", b"heart-beat:0,0\n"])
async def test_a_missing_heart_beat_is_0_0(version: Version, header: bytes, stage: Stage) -> None:
    # 1.2: 'A missing heart-beat header MUST be treated the same way as a "heart-beat:0,0" header'
    peer = stage.peer(version)
    await raw(peer, b"CONNECT\naccept-version:%b\nhost:h\npasscode:alice\n%b\n\0" % (version.encode(), header))
    stage.pass_time(120)
    assert (peer.transport.sent, peer.over) == ([], False)


@SINCE_1_1
async def test_data_is_sent_as_often_as_was_agreed(version: Version, stage: Stage) -> None:
    # 1.2: "the sender MUST send new data over the network connection at least every <n> milliseconds"; "if the sender
    # has no real STOMP frame to send, it MUST send an end-of-line (EOL)"
    peer = await connected(stage, version, **{"heart-beat": "0,15000"})
    for _ in range(4):
        stage.pass_time(15)
        assert peer.transport.sent
        assert set(peer.transport.sent) == {b"\n"}
        peer.transport.sent.clear()


@SINCE_1_1
async def test_any_data_shows_that_the_client_is_alive(version: Version, stage: Stage) -> None:
    # 1.2: "any new data received over the network connection is an indication that the remote end is alive"; "the
    # receiver SHOULD be tolerant and take into account an error margin"
    peer = await connected(stage, version, **{"heart-beat": "10000,0"})
    for data in (b"\n", b"SEND\ndestination:/app/note\n\n\0", b"SEND\ndesti", b"nation:/app/note\n\n\0"):
        stage.pass_time(15)
        peer.connection.receive(data)
    assert not peer.over
    stage.pass_time(40)
    assert peer.close_code == 4012


async def test_1_0_has_no_heart_beats(stage: Stage) -> None:
    peer = stage.peer(V10)
    answer = await peer.connect(**{"heart-beat": "5000,5000"})
    assert answer.headers["heart-beat"] == "0,0"
    stage.pass_time(120)
    assert (peer.transport.sent, peer.over) == ([], False)


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
async def test_different_subscriptions_have_different_ids(version: Version, stage: Stage) -> None:
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
async def test_auto_is_the_default_and_asks_for_no_ack(mode: str | None, stage: Stage) -> None:
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
async def test_unsubscribe_names_an_existing_subscription(version: Version, stage: Stage) -> None:
    # 1.2: "This header MUST match the subscription identifier of an existing subscription."
    error = await refusal(await connected(stage, version), b"UNSUBSCRIBE\nid:1\nreceipt:2\n\n\0")
    assert error.headers["receipt-id"] == "2"


@EVERY_VERSION
async def test_an_ended_subscription_receives_nothing(version: Version, stage: Stage) -> None:
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
async def test_ack_names_the_message(version: Version, missing: str, stage: Stage) -> None:
    # 1.2: "The ACK frame MUST include an id header matching the ack header of the MESSAGE being acknowledged." 1.1:
    # "ACK has two REQUIRED headers: message-id [...] and subscription"; 1.0: "one required header, message-id"
    headers = {"id": "m/1", "message-id": "m", "subscription": "1"}
    del headers[missing]
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    await refusal(await connected(stage, version), f"ACK\n{lines}\n\0".encode())


@SINCE_1_1
async def test_nack_asks_for_the_message_later(version: Version, stage: Stage) -> None:
    # 1.2: "NACK is the opposite of ACK. It is used to tell the server that the client did not consume the message. The
    # server can then either send the message to a different client, discard it, or put it in a dead letter queue."
    peer = await connected(stage, version)
    await peer.subscribe(MESSAGES, ack="client-individual")
    message = await message_on(peer, stage)
    (receipt,) = await peer.talk("NACK", ack_of(message) | {"receipt": "1"})
    assert receipt.command == "RECEIPT"
    assert stage.acks.open_records == 1


async def test_1_0_knows_no_nack(stage: Stage) -> None:
    await refusal(await connected(stage, V10), b"NACK\nmessage-id:m\n\n\0")


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
async def test_different_transactions_have_different_names(version: Version, stage: Stage) -> None:
    # 1.2: "Within the same connection, different transactions MUST use different transaction identifiers."
    peer = await connected(stage, version)
    await refusal(peer, b"BEGIN\ntransaction:1\n\n\0BEGIN\ntransaction:1\n\n\0")


@EVERY_VERSION
@pytest.mark.parametrize(("command", "bodies"), [("COMMIT", [b"1", b"2"]), ("ABORT", [])])
async def test_a_transaction_is_done_at_its_end_or_not_at_all(
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
async def test_an_open_transaction_is_aborted_at_the_end(
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
async def test_message_has_an_ack_header_where_it_asks_for_one(mode: str, stage: Stage) -> None:
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


async def test_what_was_received_is_processed_though_the_client_disconnects(stage: Stage, notes: Notes) -> None:
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
async def test_an_error_names_the_frame_and_is_the_end(
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
async def test_an_error_about_an_escape_names_the_frame(version: Version, stage: Stage) -> None:
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
