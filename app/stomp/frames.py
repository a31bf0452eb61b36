"""Frames, versions and acknowledgement modes of STOMP."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct

from app.stomp.errors import ProtocolError


class Version(StrEnum):
    V10 = "1.0"
    V11 = "1.1"
    V12 = "1.2"


class AckMode(StrEnum):
    AUTO = "auto"
    CLIENT = "client"
    CLIENT_INDIVIDUAL = "client-individual"


class Frame(Struct, frozen=True):
    """One frame, its headers unescaped. Of repeated headers it has the first (1.2, "Repeated Header Entries")."""

    command: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def receipt(self) -> str | None:
        return self.headers.get("receipt")

    def required(self, name: str) -> str:
        """Return the value of a header. Raises ProtocolError if it is missing or empty."""
        value = self.headers.get(name)
        if not value:
            raise ProtocolError("missing header", f"{self.command} needs the header {name!r}")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameLimits:
    """Limits of one inbound frame: its bytes including the NUL, its headers, the bytes of one header line."""

    max_frame_bytes: int = 262_144
    max_headers: int = 64
    max_header_bytes: int = 8192
