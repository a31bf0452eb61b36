"""Every key and channel in Redis.

A user stands in braces, the hash tag of Redis Cluster: all that is his lies in one slot, so that one script can store
and publish ("Redis cluster specification", "Hash tags").
"""

from zlib import crc32

PENDING = "stomp::pending_messages"
EVERYBODY = "stomp::ws_notify_topic"
NODES = "stomp::nodes"
CLEANER = "stomp::ledger_cleaner"


def inbox_key(user: str) -> str:
    return f"stomp::inbox::{_tag(user)}"


def read_mark_key(user: str) -> str:
    """When the inbox was last sent to a session, in µs of the server's clock."""
    return f"stomp::inbox_read::{_tag(user)}"


def full_mark_key(user: str) -> str:
    """There while a full inbox has been searched for expired messages a moment ago."""
    return f"stomp::inbox_full::{_tag(user)}"


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
