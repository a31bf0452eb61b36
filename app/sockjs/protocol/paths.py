"""The paths below a base URL."""

import re
from dataclasses import dataclass
from enum import Enum, auto

MAX_SESSION_LENGTH = 256  # the longest id that is remembered; clients use 8 characters

_IFRAME = re.compile(r"iframe[0-9a-z._-]*\.html")


class Page(Enum):
    """A path that belongs to no session."""

    GREETING = auto()
    INFO = auto()
    IFRAME = auto()
    RAW_WEBSOCKET = auto()


class Action(Enum):
    """The last segment of a session's URL."""

    WEBSOCKET = "websocket"
    XHR = "xhr"
    XHR_STREAMING = "xhr_streaming"
    XHR_SEND = "xhr_send"
    EVENTSOURCE = "eventsource"
    HTMLFILE = "htmlfile"
    JSONP = "jsonp"
    JSONP_SEND = "jsonp_send"


_ACTIONS = {action.value: action for action in Action}
_POSTED = {Action.XHR, Action.XHR_STREAMING, Action.XHR_SEND, Action.JSONP_SEND}


@dataclass(frozen=True, slots=True)
class Call:
    """The server segment is for load balancers alone: "must be ignored by the server"."""

    session: str
    action: Action


def parse_path(path: str) -> Page | Call | None:
    """`path`: what follows the base URL and a slash. None: there is nothing."""
    if path == "":
        return Page.GREETING
    if path == "info":
        return Page.INFO
    if path == "websocket":
        return Page.RAW_WEBSOCKET
    if _IFRAME.fullmatch(path):
        return Page.IFRAME
    return _parse_call(path.split("/"))


def _parse_call(segments: list[str]) -> Call | None:
    if len(segments) != 3:
        return None
    server, session, name = segments
    action = _ACTIONS.get(name)
    if action is None or not (_may_be_segment(server) and _may_be_segment(session)):
        return None
    return Call(session, action)


def _may_be_segment(text: str) -> bool:
    return bool(text) and "." not in text and len(text) <= MAX_SESSION_LENGTH


def method_of(target: Page | Call) -> str:
    """The one method that does something; OPTIONS answers everywhere but on WebSockets, and HEAD where GET does."""
    return "POST" if isinstance(target, Call) and target.action in _POSTED else "GET"


def is_websocket(target: Page | Call) -> bool:
    return target is Page.RAW_WEBSOCKET or (isinstance(target, Call) and target.action is Action.WEBSOCKET)
