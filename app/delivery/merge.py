"""Merges the messages that a replay has read with those that arrived meanwhile."""

from collections.abc import Sequence

from msgspec.structs import replace

from app.hub.publication import Publication
from app.messages.message import Envelope


def merge(
    waiting: Sequence[Envelope],
    archived: Sequence[Envelope],
    held: Sequence[Envelope | Publication],
    since: int,
    *,
    limit: int = 0,
) -> Sequence[Envelope | Publication]:
    """Return every message once, in the order of acceptance.

    What is held arrived in that order and keeps it, but for broadcasts with a seq; it has been sent to no session of
    this node before, and wins over what was read. `since` is the seq up to which `waiting` was read: a broadcast
    without a seq that is held came after that, unless it was followed by an older message. Of persisted messages that
    wait there are at most `limit`, the oldest (0: all).
    """
    placed = [message for message in held if isinstance(message, Publication) and message.seq]
    held = [message for message in held if isinstance(message, Envelope) or not message.seq]
    held_ids = {message.message.id for message in held if isinstance(message, Envelope)}
    unheld = {envelope.message.id: envelope for envelope in archived if envelope.message.id not in held_ids}
    for envelope in waiting:
        if envelope.message.id not in held_ids:
            stored = unheld.get(envelope.message.id)  # it lives longer than what the log has
            unheld[envelope.message.id] = (
                envelope
                if stored is None
                else replace(stored, seq=envelope.seq, was_sent=stored.was_sent or envelope.was_sent)
            )
    unheld_in_order = sorted(
        unheld.values(), key=lambda envelope: (_place(envelope), envelope.message.id), reverse=True
    )
    older: list[Envelope | Publication] = [*_limited(unheld_in_order, limit), *placed]
    older.sort(key=_place, reverse=True)
    merged: list[Envelope | Publication] = []
    for message, place in zip(held, _places(held, since), strict=True):
        while older and _place(older[-1]) <= place:
            merged.append(older.pop())
        merged.append(message)
    return [*merged, *reversed(older)]


def _limited(newest_first: list[Envelope], limit: int) -> list[Envelope]:
    excess = sum(envelope.persisted for envelope in newest_first) - limit if limit else 0
    kept = []
    for envelope in newest_first:
        if envelope.persisted and excess > 0:
            excess -= 1
        else:
            kept.append(envelope)
    return kept


def _places(held: Sequence[Envelope | Publication], since: int) -> Sequence[int]:
    """Return the place of each in the order of acceptance."""
    places: list[int] = []
    place_of_broadcasts = since
    for message in reversed(held):
        if isinstance(message, Envelope):
            places.append(_place(message))
            place_of_broadcasts = min(since, _place(message) - 1)
        else:
            places.append(place_of_broadcasts)
    return places[::-1]


def _place(message: Envelope | Publication) -> int:
    """Return the seq of a message. One from the archive that was not pushed yet gets an estimate."""
    if isinstance(message, Publication):
        return message.seq
    return message.seq or message.message.created * 1000 + 999
