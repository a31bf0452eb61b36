"""Convert STOMP frames for transports that carry text only."""

import re

_LENGTH = re.compile(rb"^content-length:\d+$", re.MULTILINE)


def frame_as_text(data: bytes, binary: bool) -> str:
    """Return the frame as text. `binary`: replace invalid UTF-8 in the body, and recompute content-length."""
    if not binary:
        return data.decode()
    head, gap, rest = data.partition(b"\n\n")
    body = rest.removesuffix(b"\0").decode(errors="replace").encode()
    head = _LENGTH.sub(b"content-length:%d" % len(body), head)
    return (head + gap + body + b"\0").decode()
