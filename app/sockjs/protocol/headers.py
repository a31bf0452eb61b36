"""Response headers: CORS, caching, and cookies for load balancers."""

import re
from collections.abc import Mapping

YEAR_S = 31_536_000
# Beside caches, proxies that would compress: they keep small frames back until they have more.
NOT_CACHED = {"Cache-Control": "no-store, no-cache, no-transform, must-revalidate, max-age=0"}
OLD_NOT_CACHED = {"Cache-Control": "no-store, no-cache, must-revalidate, max-age=0"}
"""As protocol 0.3.3 has it."""

_COOKIE = re.compile(r"(?:^|;)\s*JSESSIONID=([^;]*)")


def cached_for_a_year(expires: str) -> dict[str, str]:
    """`expires`: that moment as an HTTP date, for HTTP/1.0."""
    return {"Cache-Control": f"public, max-age={YEAR_S}", "Expires": expires}


def cross_origin(request: Mapping[str, str], *, echo_null: bool = True) -> dict[str, str]:
    """For browsers. `null` is the origin of pages from files and of frames in a sandbox.

    It is echoed: to requests with credentials, such as those of sockjs-client, `*` is a refusal. Protocol 0.3.3 has
    `*`, for browsers of its time took the echo for one.
    """
    origin = request.get("origin")
    anybody = not origin or (origin == "null" and not echo_null)
    headers = {
        "Access-Control-Allow-Origin": "*" if anybody else str(origin),
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
    }
    if asked := request.get("access-control-request-headers"):
        headers["Access-Control-Allow-Headers"] = asked
    return headers


def preflight(method: str) -> dict[str, str]:
    return {"Access-Control-Allow-Methods": f"OPTIONS, {method}", "Access-Control-Max-Age": str(YEAR_S)}


def sticky_cookie(cookies: str) -> dict[str, str]:
    """What load balancers keep sessions together by: the one that is there, to the letter, or any."""
    found = _COOKIE.search(cookies)
    value = found[1].strip() if found else ""
    return {"Set-Cookie": f"JSESSIONID={value or 'dummy'}; path=/"}
