"""The message that users know, and its JSON.

Its classes are not frozen, which would make them two to three times as slow to create; nobody changes one. Where one
comes with every push it is created without naming the fields, which would double that.
"""

from dataclasses import dataclass
from typing import Any, Self

from pydantic_core import to_json


@dataclass(slots=True)
class NotifyMessage:
    """`created` is ms since 1970; `receiver` None is a broadcast; `data` is any JSON value."""

    id: str
    type: str
    receiver: str | None
    data: Any
    created: int
    viewed: bool = False


_ACCOUNT = b',"ack_retry_count":'


class MessageEncoder:
    """The JSON of one message, of which only the account of its sending changes from one sending to the next."""

    __slots__ = ("_start",)

    def __init__(self, message: NotifyMessage) -> None:
        fields = {
            "id": message.id,
            "type": message.type,
            "receiver": message.receiver,
            "data": message.data,
            "viewed": message.viewed,
            "created": message.created,
        }
        self._start = to_json(fields)[:-1]

    @classmethod
    def of_json(cls, text: bytes) -> Self:
        """Of what `encode` made, with whatever fields were added behind. Raises ValueError for anything else."""
        encoder = cls.__new__(cls)
        encoder._start = text[: text.rindex(_ACCOUNT)]
        return encoder

    def encode(self, *, ack_retry_count: int, ack_last_sent: int) -> bytes:
        """UTF-8 JSON; `ack_last_sent` is ms since 1970."""
        return b'%b%b%d,"ack_last_sent":%d}' % (self._start, _ACCOUNT, ack_retry_count, ack_last_sent)

    @property
    def content(self) -> bytes:
        """All but the times and the account: the same for a message that is pushed again."""
        return self._start.rpartition(b',"created":')[0]

    def __len__(self) -> int:
        return len(self._start)


@dataclass(slots=True)
class Envelope:
    """A message on its way to its receiver.

    `expires_ms` (since 1970) ends its stay in the inbox. Without `acknowledged` it is sent once to each session and
    waits in the inbox only while there is no session at all. `persisted`: the database keeps it, and no inbox.
    `was_sent`: to some session before, as far as the inbox knows.
    """

    message: NotifyMessage
    encoder: MessageEncoder
    expires_ms: int
    acknowledged: bool = True
    persisted: bool = False
    was_sent: bool = False

    def without_data(self) -> Self:
        """For those who keep it: the encoder has the text, and parsed JSON can take 20 times the memory of its text."""
        message = self.message
        if message.data is None:
            return self
        return type(self)(
            message=NotifyMessage(
                id=message.id,
                type=message.type,
                receiver=message.receiver,
                data=None,
                created=message.created,
                viewed=message.viewed,
            ),
            encoder=self.encoder,
            expires_ms=self.expires_ms,
            acknowledged=self.acknowledged,
            persisted=self.persisted,
            was_sent=self.was_sent,
        )

    @property
    def receiver(self) -> str:
        assert self.message.receiver is not None, "a broadcast has no inbox"
        return self.message.receiver
