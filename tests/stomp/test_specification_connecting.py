"""The STOMP specifications, section by section, through the gateway: connecting and heart-beating."""

import pytest

from app.stomp.frames import Version
from tests.gateway.conversation import Stage
from tests.stomp.stage import CONNECT, EVERY_VERSION, SINCE_1_1, V10, connected, raw, refusal

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
async def test_stomp_command_works_like_connect(command: bytes, stage: Stage) -> None:
    # 1.2: "STOMP servers MUST handle a STOMP frame in the same manner as a CONNECT frame."
    (answer,) = await raw(stage.peer(), CONNECT.replace(b"CONNECT", command) + b"\n\0")
    assert answer.command == "CONNECTED"


async def test_rejected_connection_gets_an_error_and_is_closed(stage: Stage) -> None:
    # 1.2: "The server SHOULD respond back with an ERROR frame explaining why the connection was rejected and then
    # close"
    error = await refusal(stage.peer(), b"CONNECT\naccept-version:1.2\nhost:h\nauthorization:Bearer bad\n\n\0")
    assert error.headers["message"] == "The token is illegal"


async def test_first_frame_must_be_connect(stage: Stage) -> None:
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


async def test_without_common_version_the_error_lists_those_of_the_server(stage: Stage) -> None:
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
async def test_data_is_sent_at_the_agreed_interval(version: Version, stage: Stage) -> None:
    # 1.2: "the sender MUST send new data over the network connection at least every <n> milliseconds"; "if the sender
    # has no real STOMP frame to send, it MUST send an end-of-line (EOL)"
    peer = await connected(stage, version, **{"heart-beat": "0,15000"})
    for _ in range(4):
        stage.pass_time(15)
        assert peer.transport.sent
        assert set(peer.transport.sent) == {b"\n"}
        peer.transport.sent.clear()


@SINCE_1_1
async def test_any_data_counts_as_a_heartbeat(version: Version, stage: Stage) -> None:
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
