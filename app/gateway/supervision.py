"""Checks silent connections: sends heart-beats, and ends those whose client has gone."""

from app.disconnects import CONNECT_TIMEOUT, HEARTBEAT_LOST
from app.gateway.connection import Connection
from app.gateway.liveness import Silence
from app.stomp.codec import HEARTBEAT
from app.stomp.heartbeat import LOST, SEND


def look_after(connection: Connection, now_s: float, late_s: float, connect_timeout_s: float) -> float | None:
    """Send the heart-beat that is due, and end a connection without heart-beats or without a CONNECT in time.

    Return when to check it again, which may happen `late_s` later than that; None: never.
    """
    session, life = connection.session, connection.life
    if session is None:
        if now_s - life.opened_s > connect_timeout_s:
            connection.end(CONNECT_TIMEOUT)
        return now_s
    if connection.is_busy:
        life.heard_s = now_s
    has_sent, session.has_sent = session.has_sent, False
    due, check_s = life.check(now_s, late_s, has_sent)
    if due is LOST:
        connection.end(HEARTBEAT_LOST)
    elif due is SEND:
        connection.transport.send(HEARTBEAT)
    return check_s


def judge(connection: Connection, now_s: float, again: bool) -> Silence:
    """Return whether a new session of the user may take the place of this one."""
    if connection.session is None or connection.is_busy:
        return Silence.ALIVE
    return connection.life.judge(connection.transport, now_s, again)
