"""Every key and channel in Redis.

A user stands in braces, the hash tag of Redis Cluster: all that is his lies in one slot, so that one script can store
and publish ("Redis cluster specification", "Hash tags").
"""

from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

PENDING = "stomp::pending_messages"
EVERYBODY = "stomp::ws_notify_topic"
NODES = "stomp::nodes"
CLEANER = "stomp::ledger_cleaner"
DESCRIPTIONS = tuple(f"stomp::messages::{number}" for number in range(8))
"""A ring of hashes: what `message_key` has in a Redis Cluster, by message id. One after the other is written to."""


def inbox_key(user: str) -> str:
    return f"stomp::inbox::{_tag(user)}"


def full_mark_key(user: str) -> str:
    """There while a full inbox has been searched for expired messages a moment ago."""
    return f"stomp::inbox_full::{_tag(user)}"


def log_key(user: str) -> str:
    """The latest messages for the user, acknowledged or not, in their order."""
    return f"stomp::log::{_tag(user)}"


def head_key(user: str) -> str:
    """Seqs: of the latest message, the floor (of the last one that the log has dropped), of the oldest one in the log,
    of the first one that no session has been sent, and of the last one that the log refers to in the inbox; each 0 if
    there is none or it is not known."""
    return f"stomp::head::{_tag(user)}"


def acknowledged_key(user: str) -> str:
    """Ids that were acknowledged or withdrawn a while ago at most, by that time in ms."""
    return f"stomp::acknowledged::{_tag(user)}"


def known_key(user: str, message_id: str) -> str:
    """The digest of a message whose id its caller chose, for as long as the message lives."""
    return f"stomp::known::{_tag(user)}::{message_id}"


def message_key(message_id: str) -> str:
    """Whose message it is, and the little that push_status says of one that no node remembers; in a Redis Cluster."""
    return f"stomp::message::{message_id}"


def sessions_key(user: str) -> str:
    return f"stomp::sessions::{_tag(user)}"


def devices_key(user: str) -> str:
    """Which session is the latest of each device, for those that name theirs."""
    return f"stomp::devices::{_tag(user)}"


def sockjs_key(session: str) -> str:
    """Which node has the SockJS session."""
    return f"stomp::sockjs::{session}"


def user_channel(user: str) -> str:
    return f"{EVERYBODY}::{_tag(user)}"


def topic_channel(destination: str) -> str:
    """`destination` begins with `/topic/`, which no user id can.

    A name with "}" gets a hash tag of its own, so that `broadcast_mark_key` can lie in the same slot.
    """
    if "}" in destination:
        return f"{EVERYBODY}::{{{destination.replace('}', '')}}}::{destination}"
    return f"{EVERYBODY}::{destination}"


class UserKeys(NamedTuple):
    """The keys of the scripts that come with every push, and the channel of the user."""

    put: tuple[str, str, str, str, str]
    acknowledge: tuple[str, str, str, str]
    channel: str


@lru_cache(maxsize=4_096)
def user_keys(user: str) -> UserKeys:
    inbox, acknowledged, log, head = inbox_key(user), acknowledged_key(user), log_key(user), head_key(user)
    put = inbox, full_mark_key(user), log, head, acknowledged
    return UserKeys(put, (inbox, acknowledged, log, head), user_channel(user))


def node_channel(node: str) -> str:
    return f"{EVERYBODY}::{{/node/{node}}}"


def broadcast_mark_key(channel: str, message_id: str) -> str:
    """The mark of a message published on EVERYBODY or a topic's channel, in the slot of that channel."""
    tag = channel.partition("{")[2].partition("}")[0] if "}" in channel else channel
    return f"stomp::known_broadcast::{{{tag}}}::{message_id}"


def ledger_keys(partitions: int) -> tuple[str, ...]:
    """One key with the name that the users know, or so many that spread over a cluster."""
    return (PENDING,) if partitions == 1 else tuple(f"{PENDING}::{{{number}}}" for number in range(partitions))


def ledger_partition(message_id: str, partitions: int) -> int:
    return crc32(message_id.encode()) % partitions


def ledger_field(message_id: str, session_id: str) -> str:
    return f"{message_id}::{session_id}"


def _tag(user: str) -> str:
    """A tag that begins with `}` would be empty, and none; no user id contains `/`."""
    return f"{{/{user}}}" if user.startswith("}") else f"{{{user}}}"
