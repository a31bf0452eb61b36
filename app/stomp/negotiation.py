"""Negotiate the version of STOMP (1.1, "Protocol Negotiation"), and read a CONNECT of version 1.0."""

from collections.abc import Mapping

from app.stomp.errors import ProtocolError
from app.stomp.frames import Version


def negotiate_version(accept_version: str | None) -> Version:
    """Return the highest common version. None: a 1.0 client, which sends no such header. Raises ProtocolError."""
    if accept_version is None:
        return Version.V10
    offered = {part.strip() for part in accept_version.split(",")}
    for version in (Version.V12, Version.V11, Version.V10):
        if version in offered:
            return version
    supported = ",".join(Version)
    raise ProtocolError(
        "unsupported version",
        f"accept-version is {accept_version[:64]!r}, supported are {supported}",
        headers={"version": supported},
    )


def trimmed_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers of a 1.0 CONNECT without padding, as in "login: <username>".

    The parser trims later frames; it reads CONNECT before the version is known.
    """
    trimmed: dict[str, str] = {}
    for name, value in headers.items():
        trimmed.setdefault(name.strip(" "), value.strip(" "))
    return trimmed
