"""The STOMP specifications, section by section, through the gateway: frames, encoding, headers, limits."""

import pytest

from app.stomp.frames import Version
from tests.gateway.conversation import Stage
from tests.stomp.stage import (
    CONNECT,
    EVERY_VERSION,
    MESSAGES,
    SINCE_1_1,
    TOPIC,
    V10,
    V11,
    V12,
    Notes,
    connected,
    message_on,
    raw,
    refusal,
)

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
async def test_any_frame_may_request_a_receipt(
    version: Version, command: str, headers: dict[str, str], stage: Stage
) -> None:
    # 1.2: "Any client frame other than CONNECT MAY specify a receipt header with an arbitrary value. This will cause
    # the server to acknowledge the processing of the client frame with a RECEIPT frame"
    peer = await connected(stage, version)
    (receipt,) = await peer.talk(command, headers | {"receipt": "message-12345"})
    assert (receipt.command, dict(receipt.headers)) == ("RECEIPT", {"receipt-id": "message-12345"})


async def test_connect_with_a_receipt_header_gets_no_receipt(stage: Stage) -> None:
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
async def test_frame_beyond_a_limit_gets_an_error_and_a_close(frame: bytes, stage: Stage) -> None:
    # 1.2: "If these limits are exceeded the server SHOULD send the client an ERROR frame and then close the
    # connection."
    error = await refusal(await connected(stage), frame)
    assert error.headers["message"] == "frame too large"
