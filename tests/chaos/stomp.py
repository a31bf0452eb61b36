"""STOMP 1.2 frames, just enough for a client."""

from collections.abc import Iterator
from dataclasses import dataclass

HEARTBEAT = b"\n"
_ESCAPES = {"\\": "\\\\", "\r": "\\r", "\n": "\\n", ":": "\\c"}
_UNESCAPES = {"\\\\": "\\", "\\r": "\r", "\\n": "\n", "\\c": ":"}


@dataclass(frozen=True, slots=True)
class Frame:
    command: str
    headers: dict[str, str]
    body: bytes


def encode(command: str, headers: dict[str, str], body: str = "") -> str:
    """Return a frame as the text of one WebSocket message. The headers of CONNECT are not escaped."""
    escape = (lambda text: text) if command == "CONNECT" else _escape
    lines = [command, *(f"{escape(name)}:{escape(value)}" for name, value in headers.items())]
    return "\n".join(lines) + "\n\n" + body + "\0"


class Decoder:
    """Split a stream of bytes into frames. The first of several equal headers counts."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._buffer += data
        while True:
            self._buffer = self._buffer.lstrip(b"\r\n")
            head, separator, rest = self._buffer.partition(b"\n\n")
            if not separator:
                return
            command, headers = _parse_head(head.decode())
            length = int(headers["content-length"]) if "content-length" in headers else rest.find(b"\0")
            if length < 0 or len(rest) <= length:
                return
            assert rest[length : length + 1] == b"\0", f"no NUL after the body of {command}"
            self._buffer = rest[length + 1 :]
            yield Frame(command, headers, rest[:length])


def _parse_head(text: str) -> tuple[str, dict[str, str]]:
    command, *lines = text.split("\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if command != "CONNECTED":
            name, value = _unescape(name), _unescape(value)
        headers.setdefault(name, value)
    return command, headers


def _escape(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)


def _unescape(text: str) -> str:
    parts = text.split("\\\\")
    for escape, character in _UNESCAPES.items():
        if escape != "\\\\":
            parts = [part.replace(escape, character) for part in parts]
    return "\\".join(parts)
