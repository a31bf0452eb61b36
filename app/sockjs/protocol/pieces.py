"""Messages of JavaScript as bytes: alone, or as pieces of one stream."""

from collections.abc import Callable

Encode = Callable[[str], bytes]


def encode_message(text: str) -> bytes:
    """A message of its own. Halves of surrogate pairs, which UTF-8 has not, are written as if it had."""
    return text.encode("utf-8", "surrogatepass")


class Pieces:
    """Of a client that cuts what is long: JavaScript counts in UTF-16, and cuts between the halves of a pair, too."""

    def __init__(self) -> None:
        self._half = ""

    def encode(self, text: str) -> bytes:
        """A first half at the end waits for the piece that has the second."""
        if self._half:
            text = _paired(self._half + text)
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return encode_message(text[:-1] if self._half else text)


def _paired(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
