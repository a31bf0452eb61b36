"""Read headers of a request from their (name, value) pairs, names in lower case."""

from collections.abc import Iterable, Sequence

RawHeaders = Iterable[tuple[bytes, bytes]]


def header_values(headers: RawHeaders, name: bytes) -> Sequence[bytes]:
    """Return the value of each header of this name."""
    return [value.strip() for one, value in headers if one == name]


def header_tokens(headers: RawHeaders, name: bytes) -> Sequence[bytes]:
    """Return the items of a comma-separated list, which may be split over several headers (RFC 9110 section 5.6.1)."""
    return [token.strip() for value in header_values(headers, name) for token in value.split(b",") if token.strip()]
