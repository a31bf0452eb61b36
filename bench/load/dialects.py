"""What the sessions of each kind of server say to get going, and how its messages look."""

from dataclasses import dataclass, replace

USER_DIGITS = 5  # names of one length make messages of one length


@dataclass(frozen=True, slots=True)
class Step:
    """A frame, and how the frame begins that answers it. `{user}` stands for the name of the session's user."""

    text: str
    answer: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """`path` None: no WebSocket handshake at all. `opening` is said in its order, each step once the last is answered.

    `message`: how the frames begin that are counted. `leave`: what a session says to end. `beat_s`: how often it says
    that it is there. `ping`: a text that is answered with `pong`.
    """

    path: str | None
    message: bytes
    opening: tuple[Step, ...] = ()
    leave: str = ""
    beat_s: float | None = None
    ping: bytes = b"\0"
    pong: bytes = b""
    user: str = "test-{number}"

    def user_of(self, number: int) -> str:
        return self.user.replace("{number}", f"{number:0{USER_DIGITS}}")


def stomp(*, beat_s: float | None = None, user: str = "test-{number}") -> Dialect:
    """Ours: a session that is subscribed to the private messages of its user and to broadcasts."""
    beat_ms = round((beat_s or 0) * 1000)
    return Dialect(
        path="/stomp-ws",
        message=b"MESSAGE\n",
        opening=(
            Step(
                f"CONNECT\naccept-version:1.2\nhost:x\nheart-beat:{beat_ms},{beat_ms}\nAuthorization:{{user}}\n\n\0",
                b"CONNECTED\n",
            ),
            Step("SUBSCRIBE\nid:0\ndestination:/user/queue/msg\nreceipt:ready\n\n\0", b"RECEIPT\n"),
        ),
        leave="DISCONNECT\nreceipt:bye\n\n\0",
        beat_s=beat_s,
        user=user,
    )


def connected(dialect: Dialect) -> Dialect:
    """That connects and subscribes to nothing."""
    return replace(dialect, opening=dialect.opening[:1])


# Frames of a server come without a question: what the bare loop of send() sends.
BARE = Dialect(path=None, message=b"")
