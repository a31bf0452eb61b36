"""The HTTP side of a SockJS endpoint: from a request to its response."""

import email.utils
import secrets
import time
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from app.connections.addresses import format_client
from app.errors import InvalidMessage, PayloadTooLarge, Unavailable, UnsupportedCoding
from app.http.codings import ACCEPTED, inflate, require_known
from app.sockjs.endpoint import SockJs, UnknownSession
from app.sockjs.protocol.frames import BrokenJson, NoPayload, decode_array
from app.sockjs.protocol.headers import (
    NOT_CACHED,
    OLD_NOT_CACHED,
    YEAR_S,
    cached_for_a_year,
    cross_origin,
    preflight,
    sticky_cookie,
)
from app.sockjs.protocol.pages import GREETING, etag, iframe, info, is_known, payload_of_form
from app.sockjs.protocol.paths import Action, Call, Page, is_websocket, method_of, parse_path
from app.sockjs.protocol.receivers import OLD_RECEIVERS, RECEIVERS, Receiver, callback_problem
from app.sockjs.session import Busy
from app.sockjs.stream import FrameAnswer, StreamAnswer

TEXT = "text/plain; charset=UTF-8"
JSON = "application/json; charset=UTF-8"
HTML = "text/html; charset=UTF-8"


async def answer_sockjs(request: Request, path: str, sockjs: SockJs) -> Response:
    """`path`: what follows the base URL and a slash."""
    target = parse_path(path)
    if target is None:
        return _plain(404)
    method = method_of(target)
    if is_websocket(target) and not sockjs.options.websocket:
        return _plain(404)
    if is_websocket(target):
        return _answer_no_upgrade(request) if request.method == method else _not_allowed(method)
    if not sockjs.options.websockets.allows(request.headers.get("origin"), request.headers.get("host")):
        return _plain(403)
    if request.method == "OPTIONS":
        return _answer_preflight(request, target, method, sockjs)
    if isinstance(target, Page) and request.method in ("GET", "HEAD"):
        return _answer_page(request, target, sockjs)
    if isinstance(target, Call) and request.method == method:
        return await _answer_call(request, target, sockjs)
    return _not_allowed(f"OPTIONS, {method}")


# Without a session


def _answer_page(request: Request, page: Page, sockjs: SockJs) -> Response:
    options = sockjs.options
    if page is Page.GREETING:
        return Response(GREETING, headers={"Content-Type": TEXT})
    if page is Page.IFRAME:
        return _answer_iframe(request, iframe(options.client_url, protocol_0_3_3=options.protocol_0_3_3))
    facts = info(websocket=options.websocket, cookie_needed=options.cookie_needed, entropy=secrets.randbits(32))
    return Response(facts, headers={"Content-Type": JSON} | _not_cached(request, sockjs))


def _answer_iframe(request: Request, page: bytes) -> Response:
    headers = {"ETag": etag(page)} | _cached()
    if is_known(headers["ETag"], request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(page, headers=headers | {"Content-Type": HTML})


def _answer_preflight(request: Request, target: Page | Call, method: str, sockjs: SockJs) -> Response:
    headers = _cached() | preflight(method) | _cross_origin(request, sockjs)
    if isinstance(target, Call):
        headers |= _cookie(request, sockjs)
    return Response(status_code=204, headers=headers)


def _answer_no_upgrade(request: Request) -> Response:
    if request.headers.get("upgrade", "").lower() != "websocket":
        return _plain(400, 'Can "Upgrade" only to "WebSocket".')
    if "content-length" in request.headers or "transfer-encoding" in request.headers:
        return _plain(400, "a handshake has no body")
    return _plain(400, '"Connection" must be "Upgrade".')


# Of a session


async def _answer_call(request: Request, call: Call, sockjs: SockJs) -> Response:
    headers = _not_cached(request, sockjs) | _cookie(request, sockjs)
    if sockjs.is_draining:
        headers["Connection"] = "close"  # or the next request would meet this node again
    try:
        if call.action in RECEIVERS:
            return await _receive(request, call, sockjs, headers)
        return await _send(request, call, sockjs, headers)
    except Unavailable as error:
        return _plain(503, error.detail, headers | {"Retry-After": str(error.retry_after_s or 1)})


async def _receive(request: Request, call: Call, sockjs: SockJs, headers: Mapping[str, str]) -> Response:
    receiver = _receiver_of(call, sockjs)
    callback = ""
    if receiver.has_callback:
        callback = request.query_params.get("c") or request.query_params.get("callback") or ""
        if problem := callback_problem(callback):
            return _plain(500, problem, headers)
    source = await sockjs.attach(
        call.session,
        name=receiver.name,
        once=not receiver.streams,
        remote=format_client(request.client),
    )
    answer = StreamAnswer if receiver.streams else FrameAnswer
    return answer(source, receiver, callback, limit=sockjs.options.response_limit, headers=headers)


def _receiver_of(call: Call, sockjs: SockJs) -> Receiver:
    if call.action in OLD_RECEIVERS and sockjs.options.protocol_0_3_3:
        return OLD_RECEIVERS[call.action]
    return RECEIVERS[call.action]


async def _send(request: Request, call: Call, sockjs: SockJs, headers: Mapping[str, str]) -> Response:
    try:
        _check_body_headers(request, sockjs.options.max_body_bytes)
        if not await sockjs.has(call.session):  # without a session the body is neither read nor parsed
            return _plain(404, headers=headers)
        body = await _read_body(request, sockjs.options.max_body_bytes)
    except PayloadTooLarge:
        sockjs.refuse_size(call.session)
        return _plain(413, headers={**headers, "Connection": "close"})
    except UnsupportedCoding as error:
        return _plain(415, error.detail, {**headers, "Accept-Encoding": ACCEPTED})
    except InvalidMessage as error:
        return _plain(400, error.detail, headers)
    is_form = call.action is Action.JSONP_SEND
    if is_form:
        body = payload_of_form(body, request.headers.get("content-type", ""))
    try:
        await sockjs.receive(call.session, decode_array(body))
    except UnknownSession:
        return _plain(404, headers=headers)
    except NoPayload:
        return _plain(500, "Payload expected.", headers)
    except BrokenJson:
        return _plain(500, "Broken JSON encoding.", headers)
    except Busy:
        return _plain(503, "too many requests wait already", {**headers, "Retry-After": "1"})
    # 204 for a form would leave some browsers waiting; a type for no content keeps others from taking it for XML.
    return _plain(200, "ok", headers) if is_form else Response(None, 204, {**headers, "Content-Type": TEXT})


def _check_body_headers(request: Request, limit: int) -> None:
    """Refuse a body before it comes, if it is announced or asked for (`Expect`).

    Raises PayloadTooLarge and UnsupportedCoding.
    """
    if codings := request.headers.getlist("content-encoding"):
        require_known(codings)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise PayloadTooLarge(f"the body has {announced} bytes, at most {limit} are allowed")


async def _read_body(request: Request, limit: int) -> bytes:
    """Return its content. Raises PayloadTooLarge, and InvalidMessage for what does not inflate."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(f"the body has more than the {limit} bytes that are allowed")
        chunks.append(chunk)
    return inflate(b"".join(chunks), request.headers.getlist("content-encoding"), limit)


# Answers


def _plain(status: int, text: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    text = HTTPStatus(status).phrase if text is None else text
    return Response(text, status, {**(headers or {}), "Content-Type": TEXT})


def _not_allowed(allowed: str) -> Response:
    return Response(status_code=405, headers={"Allow": allowed})


def _cached() -> dict[str, str]:
    return cached_for_a_year(email.utils.formatdate(time.time() + YEAR_S, usegmt=True))


def _not_cached(request: Request, sockjs: SockJs) -> dict[str, str]:
    caching = OLD_NOT_CACHED if sockjs.options.protocol_0_3_3 else NOT_CACHED
    return caching | _cross_origin(request, sockjs)


def _cross_origin(request: Request, sockjs: SockJs) -> dict[str, str]:
    return cross_origin(request.headers, echo_null=not sockjs.options.protocol_0_3_3)


def _cookie(request: Request, sockjs: SockJs) -> dict[str, str]:
    """HTTP/2 may cut cookies into several headers, and not every proxy puts them together again."""
    cookies = "; ".join(request.headers.getlist("cookie"))
    return sticky_cookie(cookies) if sockjs.options.cookie_needed else {}
