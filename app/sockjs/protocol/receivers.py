"""The HTTP transports: how each writes frames into its responses."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from app.sockjs.protocol.frames import quote
from app.sockjs.protocol.paths import Action

JAVASCRIPT = "application/javascript; charset=UTF-8"
EVENT_STREAM = "text/event-stream"  # always UTF-8
HTML = "text/html; charset=UTF-8"

XHR_PRELUDE = b"h" * 2048 + b"\n"  # browsers show nothing of a response before they have so much
HTML_PRELUDE_BYTES = 1024

_CALLBACK = re.compile(r"[a-zA-Z0-9_.-]{1,256}")
_HTML_HEAD = """\
<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.%s;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>"""


@dataclass(frozen=True, slots=True)
class Receiver:
    """`prelude` and `wrap` get the callback that the client named, empty where `has_callback` is False.

    `streams`: one response carries frames up to the limit, else one frame alone.
    """

    name: str
    content_type: str
    streams: bool
    has_callback: bool
    prelude: Callable[[str], bytes]
    wrap: Callable[[bytes, str], bytes]


def callback_problem(callback: str | None) -> str | None:
    """What is wrong with it: it becomes part of a script, so it is a name and nothing else."""
    if not callback:
        return '"callback" parameter required'
    return None if _CALLBACK.fullmatch(callback) else 'invalid "callback" parameter'


def _line(frame: bytes, callback: str) -> bytes:
    return frame + b"\n"


def _event(frame: bytes, callback: str) -> bytes:
    return b"data: %b\r\n\r\n" % frame


def _script(frame: bytes, callback: str) -> bytes:
    """Wrap a frame in a script element, which nothing in a message can end."""
    return b"<script>\np(%b);\n</script>\r\n" % quote(frame.decode()).replace(b"<", b"\\u003c")


def _call(frame: bytes, callback: str) -> bytes:
    return b"%b(%b);\r\n" % (callback.encode(), quote(frame.decode()))


def _commented_call(frame: bytes, callback: str) -> bytes:
    """The comment keeps a callback that was chosen with malice from being the first bytes of a file of another type."""
    return b"/**/" + _call(frame, callback)


def _html_head(callback: str) -> bytes:
    return (_HTML_HEAD % callback).encode().ljust(HTML_PRELUDE_BYTES) + b"\r\n\r\n"


def _nothing(callback: str) -> bytes:
    return b""


RECEIVERS = {
    Action.XHR: Receiver("xhr-polling", JAVASCRIPT, False, False, _nothing, _line),
    Action.XHR_STREAMING: Receiver("xhr-streaming", JAVASCRIPT, True, False, lambda _: XHR_PRELUDE, _line),
    Action.EVENTSOURCE: Receiver("eventsource", EVENT_STREAM, True, False, lambda _: b"\r\n", _event),
    Action.HTMLFILE: Receiver("htmlfile", HTML, True, True, _html_head, _script),
    Action.JSONP: Receiver("jsonp-polling", JAVASCRIPT, False, True, _nothing, _commented_call),
}
OLD_RECEIVERS = {
    Action.EVENTSOURCE: replace(RECEIVERS[Action.EVENTSOURCE], content_type="text/event-stream; charset=UTF-8"),
    Action.JSONP: replace(RECEIVERS[Action.JSONP], wrap=_call),
}
"""As protocol 0.3.3 has them. Later versions name no charset, and begin with a comment."""
