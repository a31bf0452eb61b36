"""Frames to bytes, and what the versions of STOMP write differently.

1.0 escapes nothing in a header, 1.1 escapes LF, colon and backslash, 1.2 also CR, and only 1.2 ends lines with CR LF as
well as LF. CONNECT and CONNECTED are never escaped, so that 1.0 peers can read them; the first frame is read before the
version is known.
"""

import re
from collections.abc import Iterable

from app.stomp.errors import ProtocolError
from app.stomp.frames import Version

HEARTBEAT = b"\n"
UNESCAPED_COMMANDS = frozenset({"CONNECT", "STOMP", "CONNECTED"})

_ESCAPES = {
    Version.V11: str.maketrans({"\\": "\\\\", "\n": "\\n", ":": "\\c"}),
    Version.V12: str.maketrans({"\\": "\\\\", "\n": "\\n", ":": "\\c", "\r": "\\r"}),
}
_UNESCAPES = {
    Version.V11: {"\\\\": "\\", "\\n": "\n", "\\c": ":"},
    Version.V12: {"\\\\": "\\", "\\n": "\n", "\\c": ":", "\\r": "\r"},
}
_ESCAPED = re.compile(r"[\\\r\0]")  # nothing but LF and colon, which are in every head, is written differently besides
_DELIMITER = re.compile(r"[\\\r\n:]")  # to look for one takes a tenth of what a translation does
_ESCAPE_SEQUENCE = re.compile(r"\\.?", re.DOTALL)


def encode_frame(command: str, headers: Iterable[tuple[str, str]], body: bytes = b"", *, version: Version) -> bytes:
    """The frame on the wire. `content-length` is the caller's to give: a body with a NUL needs it.

    Raises ValueError where the version has no way to write a header.
    """
    headers = list(headers)
    text = "\n".join([command, *[f"{name}:{value}" for name, value in headers]])
    if _ESCAPED.search(text) or text.count(":") != len(headers) or text.count("\n") != len(headers):
        plain = command in UNESCAPED_COMMANDS
        lines = [encode_header(name, value, version=version, plain=plain) for name, value in headers]
        text = "\n".join([command, *lines])
    return b"%b\n\n%b\0" % (text.encode(), body)


def encode_header(name: str, value: str, *, version: Version, plain: bool = False) -> str:
    line = f"{name}:{value}"
    if "\0" in line:
        raise ValueError(f"the header {name!r} holds a NUL, which would end the frame")
    if version is Version.V10 or plain:
        if "\n" in line or (plain and "\r" in line) or ":" in name:
            raise ValueError(f"the header {name!r} cannot be written without escapes")
        return line
    table = _ESCAPES[version]
    if _DELIMITER.search(name):
        name = name.translate(table)
    if _DELIMITER.search(value):
        value = value.translate(table)
    return f"{name}:{value}"


def encode_headers(headers: Iterable[tuple[str, str]], version: Version) -> str:
    """Return lines of a head, each after an LF. Headers that the version cannot write (an LF in 1.0) are left out."""
    lines = [""]
    for name, value in headers:
        try:
            line = encode_header(name, value, version=version)
        except ValueError:
            continue
        lines.append(line)
    return "\n".join(lines)


def unescape(text: str, version: Version | None) -> str:
    """1.2, "Value Encoding": "Undefined escape sequences such as \\t MUST be treated as a fatal protocol error"."""
    known = _UNESCAPES.get(version) if version and "\\" in text else None
    if known is None:
        return text

    def replace(match: re.Match[str]) -> str:
        try:
            return known[match[0]]
        except KeyError:
            raise ProtocolError(
                "malformed frame", f"{match[0]!r} is not an escape sequence of STOMP {version}"
            ) from None

    return _ESCAPE_SEQUENCE.sub(replace, text)
