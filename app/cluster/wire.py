"""What travels between nodes: a byte for the kind, the name of the sender, a line end, the content."""

from enum import Enum
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.json import Decoder
from pydantic_core import from_json, to_json

from app.hub.publication import Notice, Publication
from app.messages.message import Envelope, MessageEncoder, NotifyMessage


class Kind(Enum):
    MESSAGE = b"M"
    """For a user: an `Envelope`, as it lies in the inbox."""
    NOTICE = b"N"
    """For the sessions of a user that are there: a `Notice`."""
    PUBLICATION = b"P"
    """For all who listen to a destination: a `Publication`."""
    QUESTION = b"Q"
    ANSWER = b"A"
    DIRECT = b"L"
    """For one node, see `post`."""
    MEMBERS = b"H"
    """For all nodes: the sender has joined or is leaving, and the others should look who is there."""


class NodeMessage(NamedTuple):
    kind: Kind
    sender: str
    content: bytes


def label(kind: Kind, sender: str) -> bytes:
    """What goes before the content."""
    return b"%b%b\n" % (kind.value, sender.encode())


def parse_node_message(data: bytes) -> NodeMessage:
    """Raises ValueError for what no node of this service sent."""
    head, end, content = data.partition(b"\n")
    if not end:
        raise ValueError("the label has no end")
    return NodeMessage(Kind(head[:1]), head[1:].decode(), content)


# A message in its inbox, and on its way there


def encode_envelope(envelope: Envelope) -> bytes:
    """The JSON of the message with what its journey needs behind; the script adds when it was accepted and expires."""
    return b'%b,"acknowledged":%b,"persisted":%b}' % (
        envelope.encoder.encode(ack_retry_count=0, ack_last_sent=0)[:-1],
        _json(envelope.acknowledged),
        _json(envelope.persisted),
    )


def decode_envelope(text: bytes, now_ms: int) -> tuple[Envelope, int]:
    """Return a message that was published just now, without the data (the encoder has it), and the seq before its own.

    Its whole life is before it. Raises ValueError.
    """
    entry = _entry(text)
    return _envelope(entry, text, _whole_life(entry, now_ms), was_sent=False), entry.previous


def decode_logged(text: bytes, *, now_ms: int, server_ms: int) -> Envelope:
    """Return a message of the log, for a node that missed it; `now_ms` by its clock is `server_ms` by the server's.

    A persisted message is resent for its whole life, a transient one for what is left of it. Raises ValueError.
    """
    entry = _entry(text)
    left_ms = now_ms + entry.expires_ms - server_ms
    return _envelope(entry, text, _whole_life(entry, now_ms) if entry.persisted else left_ms, was_sent=False)


def decode_entry(text: bytes, *, now_ms: int, server_ms: int, unread_from: int = 0) -> Envelope:
    """A message as the inbox or the log has it; `now_ms` by this node's clock is `server_ms` by the server's.

    `unread_from` is the seq of the first message that has not been read for a session; those before it have been sent,
    also where no node listened when they came.
    Raises ValueError.
    """
    entry = _entry(text)
    was_sent = entry.accepted < unread_from or not entry.unsent
    return _envelope(entry, text, now_ms + entry.expires_ms - server_ms, was_sent=was_sent)


def _whole_life(entry: "_Entry", now_ms: int) -> int:
    return entry.expires_ms if entry.life_ms is None else now_ms + entry.life_ms


UNORDERED = -1
"""The seq before a message from a node of an earlier version, which kept none."""


class _Entry(Struct):
    """What is read of a value of the inbox. Its data is passed over: nobody here needs more of it than its text."""

    id: str
    type: str
    receiver: str
    created: int
    viewed: bool
    expires_ms: int
    acknowledged: bool
    persisted: bool
    accepted: int = 0
    previous: int = UNORDERED
    life_ms: int | None = None
    acked: int = 0
    unsent: bool = False


_decode_entry = Decoder(_Entry).decode


def _entry(text: bytes) -> _Entry:
    if not text.isascii():
        text.decode()  # what is passed over is not looked at
    try:
        return _decode_entry(text)
    except RecursionError:
        raise ValueError("its data is nested too deeply") from None


def _envelope(entry: _Entry, text: bytes, expires_ms: int, *, was_sent: bool) -> Envelope:
    return Envelope(
        NotifyMessage(entry.id, entry.type, entry.receiver, None, entry.viewed, entry.created),
        MessageEncoder.of_json(text),
        expires_ms,
        entry.acknowledged,
        entry.persisted,
        was_sent,
        entry.accepted,
        entry.acked,
    )


def _json(value: bool) -> bytes:
    return b"true" if value else b"false"


# Publications and notices: a line of JSON, then the body as it is


def encode_publication(publication: Publication) -> bytes:
    return _with_body(_head_of(publication), publication.body)


def decode_publication(content: bytes) -> Publication:
    """Raises ValueError."""
    fields, body = _split(content)
    return _publication(fields, body)


def encode_notice(notice: Notice) -> bytes:
    head = _head_of(notice.publication) | {"user": notice.user, "withdrawn": notice.withdrawn}
    return _with_body(head, notice.publication.body)


def decode_notice(content: bytes) -> Notice:
    """Raises ValueError."""
    fields, body = _split(content)
    try:
        return Notice(user=fields["user"], publication=_publication(fields, body), withdrawn=tuple(fields["withdrawn"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"the notice lacks {error}") from None


def _head_of(publication: Publication) -> dict[str, Any]:
    return {
        "message_id": publication.message_id,
        "destination": publication.destination,
        "content_type": publication.content_type,
        "headers": publication.headers,
        "binary": publication.binary,
    }


def _with_body(head: dict[str, Any], body: bytes) -> bytes:
    return b"%b\n%b" % (to_json(head), body)


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    head, _, body = content.partition(b"\n")
    fields = from_json(head)
    if not isinstance(fields, dict):
        raise ValueError("its head is no JSON object")
    return fields, body


def _publication(fields: dict[str, Any], body: bytes) -> Publication:
    try:
        return Publication(
            message_id=fields["message_id"],
            destination=fields["destination"],
            body=body,
            content_type=fields["content_type"],
            headers=tuple((name, value) for name, value in fields["headers"]),
            binary=fields["binary"],
            seq=int(fields.get("seq", 0)),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the publication lacks {error}") from None
