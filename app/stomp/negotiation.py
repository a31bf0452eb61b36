"""The version of STOMP that both sides speak (1.1, "Protocol Negotiation"), and what depends on it in CONNECT."""

from collections.abc import Mapping

from app.stomp.errors import ProtocolError
from app.stomp.frames import Version


def negotiate_version(accept_version: str | None) -> Version:
    """The highest version of both; no header is a 1.0 client. Raises ProtocolError."""
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
    """The parser trims for 1.0, but the CONNECT frame it reads before it knows: "login: <username>"."""
    trimmed: dict[str, str] = {}
    for name, value in headers.items():
        trimmed.setdefault(name.strip(" "), value.strip(" "))
    return trimmed
