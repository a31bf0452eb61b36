"""The format of messages between nodes: a kind byte, the name of the sender, a line feed, the content."""

from enum import Enum
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.json import Decoder
from pydantic_core import from_json, to_json

from app.hub.publication import Notice, Publication
from app.messages.message import Envelope, MessageEncoder, NotifyMessage


class Kind(Enum):
    MESSAGE = b"M"
    """An `Envelope` for a user, in the format of the inbox."""
    NOTICE = b"N"
    """A `Notice` for the online sessions of a user."""
    PUBLICATION = b"P"
    """A `Publication` for all subscribers of a destination."""
    QUESTION = b"Q"
    ANSWER = b"A"
    DIRECT = b"L"
    """For one node, see `channel`."""
    MEMBERS = b"H"
    """The sender joins or leaves, and all nodes should read the list of members."""


class NodeMessage(NamedTuple):
    """A parsed message of another node; `content` is not decoded yet."""

    kind: Kind
    sender: str
    content: bytes


def label(kind: Kind, sender: str) -> bytes:
    """Encode the part before the content."""
    return b"%b%b\n" % (kind.value, sender.encode())


def parse_node_message(data: bytes) -> NodeMessage:
    """Parse a message. Raises ValueError if it is not from a node of this service."""
    head, end, content = data.partition(b"\n")
    if not end:
        raise ValueError("the label has no end")
    return NodeMessage(Kind(head[:1]), head[1:].decode(), content)


# A message in its inbox, and on its way there


def encode_envelope(envelope: Envelope) -> bytes:
    """Encode a message with its delivery fields appended; the script adds when it was accepted and when it expires."""
    return b'%b,"acknowledged":%b,"persisted":%b}' % (
        envelope.encoder.encode(ack_retry_count=0, ack_last_sent=0)[:-1],
        _json(envelope.acknowledged),
        _json(envelope.persisted),
    )


def decode_envelope(text: bytes, now_ms: int) -> tuple[Envelope, int]:
    """Decode a message that was published just now, and the seq before its own.

    Its data is left to the encoder, and its lifetime starts now. Raises ValueError.
    """
    entry = _entry(text)
    return _envelope(entry, text, _whole_life(entry, now_ms), was_sent=False), entry.previous


def decode_logged(text: bytes, *, now_ms: int, server_ms: int) -> Envelope:
    """Decode a log entry for a node that missed it; its clock says `now_ms` when the server's says `server_ms`.

    A persisted message is resent for its whole lifetime, a transient one for the rest of it. Raises ValueError.
    """
    entry = _entry(text)
    left_ms = now_ms + entry.expires_ms - server_ms
    return _envelope(entry, text, _whole_life(entry, now_ms) if entry.persisted else left_ms, was_sent=False)


def decode_entry(text: bytes, *, now_ms: int, server_ms: int, unread_from: int = 0) -> Envelope:
    """Decode an entry of the inbox or the log; this clock says `now_ms` when the server's says `server_ms`.

    `unread_from` is the seq of the first message that was not read for a session. Earlier ones count as sent, even if
    no node listened when they were accepted. Raises ValueError.
    """
    entry = _entry(text)
    was_sent = entry.accepted < unread_from or not entry.unsent
    return _envelope(entry, text, now_ms + entry.expires_ms - server_ms, was_sent=was_sent)


def _whole_life(entry: "_Entry", now_ms: int) -> int:
    return entry.expires_ms if entry.life_ms is None else now_ms + entry.life_ms


UNORDERED = -1
"""The previous seq of a message from an older version, which has none."""


class _Entry(Struct):
    """The fields read from an inbox value. The data of the message is skipped, as it is sent as text."""

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
        text.decode()  # msgspec does not check skipped values
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


# Publications and notices: a line of JSON, then the raw body


def encode_publication(publication: Publication) -> bytes:
    return _with_body(_head_of(publication), publication.body)


def decode_publication(content: bytes) -> Publication:
    """Decode a publication. Raises ValueError."""
    fields, body = _split(content)
    return _publication(fields, body)


def encode_notice(notice: Notice) -> bytes:
    head = _head_of(notice.publication) | {"user": notice.user, "withdrawn": notice.withdrawn}
    return _with_body(head, notice.publication.body)


def decode_notice(content: bytes) -> Notice:
    """Decode a notice. Raises ValueError."""
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
        raise ValueError("its head is not a JSON object")
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
