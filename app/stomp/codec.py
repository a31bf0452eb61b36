"""Encode frames, and escape headers as the versions of STOMP require.

1.0 escapes nothing in a header, 1.1 escapes LF, colon and backslash, 1.2 also CR. Only 1.2 allows CR LF as well as LF
at the end of a line. CONNECT and CONNECTED are never escaped: the version is unknown before them, and 1.0 peers must be
able to read them.
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
_ESCAPED = re.compile(r"[\\\r\0]")  # besides LF and colon, which every head contains and which are counted
_DELIMITER = re.compile(r"[\\\r\n:]")  # a search takes a tenth of the time of a translation
_ESCAPE_SEQUENCE = re.compile(r"\\.?", re.DOTALL)


def encode_frame(command: str, headers: Iterable[tuple[str, str]], body: bytes = b"", *, version: Version) -> bytes:
    """Return the frame as it is sent. The caller gives `content-length`, which a body with a NUL needs.

    Raises ValueError for a header that the version cannot express.
    """
    headers = list(headers)
    text = "\n".join([command, *[f"{name}:{value}" for name, value in headers]])
    if _ESCAPED.search(text) or text.count(":") != len(headers) or text.count("\n") != len(headers):
        plain = command in UNESCAPED_COMMANDS
        lines = [encode_header(name, value, version=version, plain=plain) for name, value in headers]
        text = "\n".join([command, *lines])
    return b"%b\n\n%b\0" % (text.encode(), body)


def encode_header(name: str, value: str, *, version: Version, plain: bool = False) -> str:
    """Return a header line without its end. `plain`: no escapes in any version. Raises ValueError as `encode_frame`."""
    line = f"{name}:{value}"
    if "\0" in line:
        raise ValueError(f"the header {name!r} contains a NUL, which would end the frame")
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
    """Return header lines, each preceded by an LF. Omit those that the version cannot express (an LF in 1.0)."""
    lines = [""]
    for name, value in headers:
        try:
            line = encode_header(name, value, version=version)
        except ValueError:
            continue
        lines.append(line)
    return "\n".join(lines)


def unescape(text: str, version: Version | None) -> str:
    """Undo the escapes of a version. None: CONNECT, which has none. Raises ProtocolError.

    1.2, "Value Encoding": "Undefined escape sequences such as \\t MUST be treated as a fatal protocol error".
    """
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
