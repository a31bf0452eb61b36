"""All keys and channels in Redis.

The user id is in braces, the hash tag of Redis Cluster: all keys of a user share one slot, so that one script can store
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
"""A ring of hashes, written to in turn: descriptions by message id. In a Redis Cluster `message_key` has them."""


def inbox_key(user: str) -> str:
    """A hash of the messages that wait for the user, by id."""
    return f"stomp::inbox::{_tag(user)}"


def full_mark_key(user: str) -> str:
    """A mark that exists while a full inbox was recently searched for expired messages."""
    return f"stomp::inbox_full::{_tag(user)}"


def log_key(user: str) -> str:
    """A list of the latest messages for the user, acknowledged or not, in order."""
    return f"stomp::log::{_tag(user)}"


def head_key(user: str) -> str:
    """Five seqs: of the latest message, of the last one dropped from the log (the floor), of the oldest in the log, of
    the first that was not sent to a session, and of the last inbox message that the log refers to. 0 means none or
    unknown.
    """
    return f"stomp::head::{_tag(user)}"


def acknowledged_key(user: str) -> str:
    """A sorted set of recently acknowledged or withdrawn ids by time in ms."""
    return f"stomp::acknowledged::{_tag(user)}"


def known_key(user: str, message_id: str) -> str:
    """The digest of a message with a caller-chosen id, kept for the lifetime of the message."""
    return f"stomp::known::{_tag(user)}::{message_id}"


def message_key(message_id: str) -> str:
    """The description of a message in a Redis Cluster, for push_status once no node remembers the message."""
    return f"stomp::message::{message_id}"


def sessions_key(user: str) -> str:
    """A sorted set of the sessions of the user, `node::session` by expiry in ms."""
    return f"stomp::sessions::{_tag(user)}"


def devices_key(user: str) -> str:
    """A hash of the latest session of each device, by client-id."""
    return f"stomp::devices::{_tag(user)}"


def sockjs_key(session: str) -> str:
    """The node that holds the SockJS session."""
    return f"stomp::sockjs::{session}"


def user_channel(user: str) -> str:
    return f"{EVERYBODY}::{_tag(user)}"


def topic_channel(destination: str) -> str:
    """The channel of a topic. `destination` begins with `/topic/`, which no user id can.

    A name with "}" gets a hash tag of its own, so that `broadcast_mark_key` can lie in the same slot.
    """
    if "}" in destination:
        return f"{EVERYBODY}::{{{destination.replace('}', '')}}}::{destination}"
    return f"{EVERYBODY}::{destination}"


class UserKeys(NamedTuple):
    """The keys of PUT and ACKNOWLEDGE, and the channel of the user."""

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
    """Return the well-known key, or `partitions` keys that spread over a cluster."""
    return (PENDING,) if partitions == 1 else tuple(f"{PENDING}::{{{number}}}" for number in range(partitions))


def ledger_partition(message_id: str, partitions: int) -> int:
    return crc32(message_id.encode()) % partitions


def ledger_field(message_id: str, session_id: str) -> str:
    return f"{message_id}::{session_id}"


def _tag(user: str) -> str:
    """Return the hash tag of a user. It must not begin with `}`, or it would be empty; no user id contains `/`."""
    return f"{{/{user}}}" if user.startswith("}") else f"{{{user}}}"
