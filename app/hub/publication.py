"""A message that is encoded once for many subscribers."""

from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakValueDictionary

from msgspec import Struct, field

from app.stomp.codec import encode_header, encode_headers
from app.stomp.frames import Version
from app.stomp.session import ack_id

REMEMBERED_BYTES = 8_388_608  # of the frames of one message
REMEMBERED_CHARS = 256  # of what clients choose: longer texts would fill the memory with what comes once


class Profile:
    """All that can make one subscriber's frame differ from another's.

    Two are the same if they are one object, which is found sooner: `profile_of` makes them.
    """

    __slots__ = ("__weakref__", "_heads", "_heads_for", "asks_ack", "subscription_id", "version")

    def __init__(self, version: Version, subscription_id: str | None, asks_ack: bool) -> None:
        self.version = version
        self.subscription_id = subscription_id
        self.asks_ack = asks_ack
        self._heads_for: tuple[str, str] | None = None
        self._heads = ("", "")

    def standard_headers(self, destination: str, content_type: str) -> tuple[str, str]:
        """What stands in each such frame before the message id, and what between it and the length of the body."""
        wanted = destination, content_type
        if self._heads_for == wanted:  # nearly always
            return self._heads
        heads = self._write_headers(destination, content_type)
        if len(self.subscription_id or "") + len(destination) + len(content_type) <= REMEMBERED_CHARS:
            self._heads, self._heads_for = heads, wanted
        return heads

    def _write_headers(self, destination: str, content_type: str) -> tuple[str, str]:
        version, subscription_id = self.version, self.subscription_id
        start = ["MESSAGE", "message-id:"]
        if subscription_id is not None:
            start.insert(1, encode_header("subscription", subscription_id, version=version))
        middle = encode_headers((("destination", destination), ("content-type", content_type)), version)
        return "\n".join(start), f"{middle}\ncontent-length:"


def profile_of(version: Version, subscription_id: str | None, asks_ack: bool) -> Profile:
    """The same object for equal subscribers, for as long as there are any: clients of one kind choose the same ids."""
    key = version, subscription_id, asks_ack
    profile = _profiles.get(key)
    if profile is None:
        profile = _profiles[key] = Profile(*key)
    return profile


_profiles: WeakValueDictionary[tuple[Version, str | None, bool], Profile] = WeakValueDictionary()


class Publication(Struct):
    """A message for all that listen to `destination`, and what the relay carries from node to node.

    It is encoded once for each profile of subscribers, of which there are few; where there are many, not all large
    frames are remembered, and the memory stays bounded.

    `message_id` has the characters of ids (`messages/ids.py`). `headers` go between the standard ones and the body; a
    header that a STOMP version cannot write is left out of its frames. `binary`: the body is not valid UTF-8 and
    travels in a binary WebSocket message. `seq` is the time on the clock of the Redis server when it was published, in
    µs: its place among the messages of a user. 0: unknown. In a Redis Cluster another server may have set the seqs of
    the messages.
    """

    message_id: str
    destination: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    binary: bool = False
    seq: int = 0
    _frames: dict[Profile, bytes] = field(default_factory=dict)
    _header_lines: dict[Version, str] | None = None

    def frame_for(self, profile: Profile) -> bytes:
        frame = self._frames.get(profile)
        if frame is None:
            frame = encode_message(self, profile)
            if len(self._frames) * len(frame) >= REMEMBERED_BYTES:
                self._frames.popitem()  # the last one: profiles that come in turns would all be forgotten otherwise
            self._frames[profile] = frame
        return frame

    def header_lines(self, version: Version) -> str:
        """Return `headers` as that version writes them. They are encoded once for all its profiles."""
        known = self._header_lines
        if known is None:
            known = self._header_lines = {}
        lines = known.get(version)
        if lines is None:
            lines = known[version] = encode_headers(self.headers, version)
        return lines


class Notice(Struct, frozen=True, kw_only=True):
    """A change for the user's present sessions, sent at most once. `withdrawn` ids are not sent to them any more."""

    user: str
    publication: Publication
    withdrawn: tuple[str, ...] = ()


class Published(NamedTuple):
    """The result of a publication. `unreached`: nodes that may not have received it.

    `is_repeat`: another node has published its id before, and nothing was published now. `seq`: see `Publication`.
    """

    unreached: Sequence[str] = ()
    is_repeat: bool = False
    seq: int = 0


def encode_message(publication: Publication, profile: Profile) -> bytes:
    """Encode a MESSAGE frame (STOMP 1.2, "MESSAGE")."""
    message_id, body = publication.message_id, publication.body
    start, middle = profile.standard_headers(publication.destination, publication.content_type)
    written_id = message_id if ":" not in message_id else encode_header("", message_id, version=profile.version)[1:]
    rest = publication.header_lines(profile.version) if publication.headers else ""
    if profile.asks_ack and profile.version is Version.V12:  # before the user's: of repeated headers the first counts
        ack = ack_id(message_id, profile.subscription_id or "")
        rest = f"\n{encode_header('ack', ack, version=profile.version)}{rest}"
    return f"{start}{written_id}{middle}{len(body)}{rest}\n\n".encode() + body + b"\0"
