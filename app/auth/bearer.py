"""The value of an `Authorization` header."""

from app.errors import Unauthorized


def bearer_token(value: str) -> str:
    """Return the token in `Bearer <token>` (RFC 6750 section 2.1; any case, any white space) or in the bare `<token>`.

    Raises `Unauthorized` when there is none, so that no authenticator ever sees an empty token. Other schemes are not
    recognised: `Basic abc` is a bare token with a space in it, which no authenticator takes.
    """
    scheme, _, rest = value.strip().replace("\t", " ").partition(" ")
    token = rest.strip() if scheme.lower() == "bearer" else value.strip()
    if not token:
        raise Unauthorized("no token was given")
    return token
