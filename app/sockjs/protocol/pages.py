"""The pages below a base URL: greeting, iframe and info."""

import hashlib
import json
from urllib.parse import parse_qs

GREETING = b"Welcome to SockJS!\n"

_IFRAME = """\
<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
%s</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>
"""
_SCRIPTS = """\
  <script src="%s"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
"""
_OLD_SCRIPTS = """\
  <script>
    document.domain = document.domain;
    _sockjs_onload = function(){SockJS.bootstrap_iframe();};
  </script>
  <script src="%s"></script>
"""


def iframe(client_url: str, *, protocol_0_3_3: bool = False) -> bytes:
    """Return the iframe page for pages of other domains. `client_url` is the address of sockjs-client."""
    scripts = _OLD_SCRIPTS if protocol_0_3_3 else _SCRIPTS
    url = client_url.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return (_IFRAME % (scripts % url)).encode()


def etag(document: bytes) -> str:
    return f'"{hashlib.sha256(document).hexdigest()[:32]}"'


def is_known(tag: str, if_none_match: str) -> bool:
    """Whether the client has that document: it may name several, and proxies that compress make a tag weak (`W/`)."""
    return tag in if_none_match


def info(*, websocket: bool, cookie_needed: bool, entropy: int) -> bytes:
    """`origins` is not used by clients; `entropy`: 32 random bits for browsers that have none of their own."""
    facts = {"websocket": websocket, "origins": ["*:*"], "cookie_needed": cookie_needed, "entropy": entropy}
    return json.dumps(facts, separators=(",", ":")).encode()


def payload_of_form(body: bytes, content_type: str) -> bytes:
    """What a JSONP client sent: the field `d` of a form, or the body itself."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return body
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=10)
    except ValueError:
        return b""
    return fields.get("d", [""])[0].encode()
