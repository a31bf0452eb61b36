"""STOMP frames where only text can be carried."""

import re

_LENGTH = re.compile(rb"^content-length:\d+$", re.MULTILINE)


def frame_as_text(data: bytes, binary: bool) -> str:
    """A body that is no UTF-8 gets a U+FFFD for what is none, and a length that is right again."""
    if not binary:
        return data.decode()
    head, gap, rest = data.partition(b"\n\n")
    body = rest.removesuffix(b"\0").decode(errors="replace").encode()
    head = _LENGTH.sub(b"content-length:%d" % len(body), head)
    return (head + gap + body + b"\0").decode()
