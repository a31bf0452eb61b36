"""The message, its JSON, and the envelope it travels in."""

from typing import Any, Self

from msgspec import Struct
from msgspec.json import Encoder
from msgspec.structs import replace
from pydantic_core import to_jsonable_python

from app.messages.receivers import receiver_name


class NotifyMessage(Struct):
    """`created` is ms since 1970; `receiver` None is a broadcast; `data` is any JSON value, or a pydantic model.

    The JSON has its fields in this order.
    """

    id: str
    type: str
    receiver: str | None
    data: Any
    viewed: bool
    created: int


def addressed(message: NotifyMessage) -> NotifyMessage:
    """Return the message with the canonical spelling of its receiver. Raises InvalidMessage."""
    assert message.receiver is not None, "a broadcast has no receiver"
    name = receiver_name(message.receiver)
    return message if name == message.receiver else replace(message, receiver=name)


def _as_json(value: Any) -> Any:
    """Encode pydantic models, which the encoder does not know."""
    known = to_jsonable_python(value)
    if known is value:  # a key that is no text: the encoder would ask again and again
        raise TypeError(f"{value!r} cannot be written as JSON here")
    return known


_encode = Encoder(enc_hook=_as_json).encode
_ACCOUNT = b',"ack_retry_count":'


class MessageEncoder:
    """The JSON of one message. Only `ack_retry_count` and `ack_last_sent` differ between its sendings."""

    __slots__ = ("_start",)

    def __init__(self, message: NotifyMessage) -> None:
        self._start = _encode(message)[:-1]

    @classmethod
    def of_json(cls, text: bytes) -> Self:
        """Parse what `encode` returned, with or without fields added at its end. Raises ValueError."""
        encoder = cls.__new__(cls)
        encoder._start = text[: text.rindex(_ACCOUNT)]
        return encoder

    def encode(self, *, ack_retry_count: int, ack_last_sent: int) -> bytes:
        """UTF-8 JSON; `ack_last_sent` is ms since 1970."""
        return b'%b%b%d,"ack_last_sent":%d}' % (self._start, _ACCOUNT, ack_retry_count, ack_last_sent)

    def addressed(self, old: str, new: str) -> Self:
        """Return an encoder for another receiver that reuses the encoded `data`."""
        encoder = self.__class__.__new__(self.__class__)
        # A quotation mark in an id or a type would be escaped: what is found first is the field.
        encoder._start = self._start.replace(_receiver_field(old), _receiver_field(new), 1)
        return encoder

    @property
    def content(self) -> bytes:
        """The JSON without times and counters: equal for a message that is pushed again."""
        return self._start.rpartition(b',"created":')[0]

    def __len__(self) -> int:
        return len(self._start)


def _receiver_field(receiver: str) -> bytes:
    return b',"receiver":' + _encode(receiver)


class Envelope(Struct, eq=False):
    """A message on its way to its receiver.

    `expires_ms` (since 1970) ends its stay in the inbox. Without `acknowledged` it is sent once to each session and
    waits in the inbox only while there is no session at all. `persisted`: the database keeps it, and no inbox.
    `was_sent`: to some session before, as far as its store knows. `seq` is its place among the messages of its
    receiver, 0 until it is accepted. `acked_ms` (since 1970): when a device acknowledged it, if that was before it was
    accepted; later sessions do not need it.
    """

    message: NotifyMessage
    encoder: MessageEncoder
    expires_ms: int
    acknowledged: bool = True
    persisted: bool = False
    was_sent: bool = False
    seq: int = 0
    acked_ms: int = 0

    def without_data(self) -> Self:
        """Return an envelope to keep: its encoder has the text, and parsed JSON can take 20 times the memory of it."""
        message = self.message
        if message.data is None:
            return self
        return replace(self, message=replace(message, data=None))

    def addressed(self) -> Self:
        """Return the envelope with the canonical spelling of its receiver. Raises InvalidMessage."""
        message = addressed(self.message)
        if message is self.message:
            return self
        return replace(self, message=message, encoder=self.encoder.addressed(self.receiver, str(message.receiver)))

    @property
    def receiver(self) -> str:
        assert self.message.receiver is not None, "a broadcast has no inbox"
        return self.message.receiver
