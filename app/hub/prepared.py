"""A MESSAGE frame that is encoded once and sent to many."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from app.stomp.codec import encode_frame
from app.stomp.frames import Version
from app.stomp.session import ack_id


class Profile(NamedTuple):
    """All that can make one subscriber's frame differ from another's."""

    version: Version
    subscription_id: str | None
    asks_ack: bool


@lru_cache(maxsize=1024)
def profile_of(version: Version, subscription_id: str | None, asks_ack: bool) -> Profile:
    """The same object for equal subscribers, as a rule: clients of one kind all choose the same ids."""
    return Profile(version, subscription_id, asks_ack)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A message for all that listen to `destination`, and what the relay carries from node to node.

    `headers` go between the standard ones and the body; all header text must be writable in every STOMP version.
    `binary`: the body is not valid UTF-8 and travels in a binary WebSocket message.
    """

    message_id: str
    destination: str
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    binary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """For the sessions of one user that are there now, at most once. `withdrawn` are messages that he needs no more."""

    user: str
    publication: Publication
    withdrawn: tuple[str, ...] = ()


class PreparedMessage:
    """Encodes a publication once for each profile of subscribers, of which there are few."""

    __slots__ = ("_frames", "_publication", "binary")

    def __init__(self, publication: Publication) -> None:
        self.binary = publication.binary
        self._publication = publication
        self._frames: dict[Profile, bytes] = {}

    def frame_for(self, profile: Profile) -> bytes:
        frame = self._frames.get(profile)
        if frame is None:
            frame = self._frames[profile] = encode_message(self._publication, profile)
        return frame


def encode_message(publication: Publication, profile: Profile) -> bytes:
    """The MESSAGE frame (1.2, "MESSAGE")."""
    headers = [
        ("message-id", publication.message_id),
        ("destination", publication.destination),
        ("content-type", publication.content_type),
        ("content-length", str(len(publication.body))),
        *publication.headers,
    ]
    if profile.subscription_id is not None:
        headers.insert(0, ("subscription", profile.subscription_id))
    if profile.asks_ack and profile.version is Version.V12:
        headers.append(("ack", ack_id(publication.message_id, profile.subscription_id or "")))
    return encode_frame("MESSAGE", headers, publication.body, version=profile.version)
