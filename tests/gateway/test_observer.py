"""What observers are told of sessions."""

from app.delivery.observer import Connected, Disconnected, Refused
from app.disconnects import BAD_TOKEN, FORCED
from tests.gateway.conversation import Stage


async def test_the_life_of_a_session_is_told_with_its_length_and_the_reason_of_its_end() -> None:
    stage = Stage()
    peer = await stage.connected("alice", **{"client-id": "phone"})
    (session,) = stage.hub
    stage.clock.advance(2.5)
    stage.gateway.kick(session.id)

    name, remote = peer.transport.name, peer.transport.remote
    assert stage.events == [
        Connected(session.id, "alice", "phone", name, remote),
        Disconnected(session.id, "alice", FORCED, 2_500),
    ]


async def test_a_connection_that_is_refused_is_told_with_what_its_client_was_told() -> None:
    stage = Stage()
    peer = stage.peer()
    await peer.talk("CONNECT", {"accept-version": "1.2", "host": "test"})

    (event,) = stage.events
    assert isinstance(event, Refused)
    assert event.reason is BAD_TOKEN
    assert "CONNECT carries no token" in event.detail
    assert event.transport == peer.transport.name
