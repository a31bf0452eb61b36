"""Parse frames of STOMP 1.0, 1.1 and 1.2 incrementally. `codec` says how the versions differ."""

import re
from collections.abc import Mapping

from app.stomp.codec import UNESCAPED_COMMANDS, unescape
from app.stomp.errors import FrameTooLarge, ProtocolError
from app.stomp.frames import Frame, FrameLimits, Version

_NUL, _CR = 0, 13
_LINE_ENDS, _LFS = re.compile(rb"(?:\r?\n)*"), re.compile(rb"\n*")


class FrameParser:
    """Takes bytes, cut anywhere, and returns frames.

    Set `version` once it is negotiated, and `limits` when they change. Each byte is examined a bounded number
    of times, however small the pieces.
    """

    __slots__ = (
        "_allows_cr",
        "_body_length",
        "_body_start",
        "_buffer",
        "_head",
        "_scan",
        "_start",
        "_trims",
        "_version",
        "limits",
    )

    def __init__(self, limits: FrameLimits) -> None:
        self.limits = limits
        self.version = None
        self._buffer: bytes | bytearray = b""
        self._start = 0  # first byte of the current frame
        self._scan = 0  # no terminator lies before this byte
        self._head: tuple[str, dict[str, str]] | None = None  # of a frame whose body is incomplete
        self._body_start = 0
        self._body_length: int | None = None

    @property
    def version(self) -> Version | None:
        return self._version

    @version.setter
    def version(self, version: Version | None) -> None:
        self._version = version
        self._trims = version is Version.V10  # its specification writes "name: value"
        self._allows_cr = version is None or version is Version.V12

    def feed(self, data: bytes) -> None:
        """Take bytes. `next_frame` parses them."""
        if self._start == len(self._buffer):
            self._buffer, self._start, self._scan = data, 0, 0
            return
        if isinstance(self._buffer, bytes):
            self._buffer = bytearray(self._buffer)
        self._buffer += data

    @property
    def buffered(self) -> int:
        """Number of bytes that were fed and not yet returned as frames."""
        return len(self._buffer) - self._start

    def next_frame(self) -> Frame | None:
        """Return the next frame, or None if it is not complete. Heart-beats are skipped.

        Raises ProtocolError; the parser must not be used after that.
        """
        if self._start == len(self._buffer):
            return None
        if self._head is None and not self._read_head():
            return None
        assert self._head is not None
        end = self._body_end()
        if end is None:
            return None
        command, headers = self._head
        body = bytes(self._buffer[self._body_start : end])
        self._head = None
        self._consume(end + 1)
        return Frame(command, headers, body)

    def _consume(self, end: int) -> None:
        """Go on at `end`. Parsed bytes are freed, those of a single piece once all of it is parsed."""
        if end == len(self._buffer):  # an idle connection keeps no buffer
            self._buffer, end = b"", 0
        elif isinstance(self._buffer, bytearray):
            del self._buffer[:end]
            end = 0
        self._start = self._scan = end

    def _read_head(self) -> bool:
        if not self._skip_line_ends():
            return False
        try:
            return self._try_to_read_head()
        except ProtocolError as error:
            error.receipt_id = error.receipt_id or self._readable_receipt()
            raise

    def _try_to_read_head(self) -> bool:
        buffer, start = self._buffer, self._start
        nul = buffer.find(_NUL, self._scan)  # end of the search: what follows are other frames
        end, body_start = self._find_blank_line(nul if nul >= 0 else len(buffer))
        if end < 0 and nul >= 0:
            raise ProtocolError("malformed frame", "a NUL stands before the blank line that ends the headers")
        if end < 0:
            self._check_size(len(buffer) - start)
            self._scan = max(start, len(buffer) - 2)  # the blank line may be cut after "\n\r"
            return False
        self._head = command, headers = self._parse_head(bytes(buffer[start:end]))
        self._body_start, self._scan = body_start, nul if nul >= 0 else len(buffer)
        self._body_length = _content_length(command, headers) if "content-length" in headers else None
        if self._body_length is not None:
            self._check_size(body_start - start + self._body_length + 1)
        return True

    def _skip_line_ends(self) -> bool:
        """Skip line ends before a frame, which are heart-beats. Return whether bytes of a frame follow."""
        buffer, size = self._buffer, len(self._buffer)
        if buffer[self._start] > _CR:  # nearly always
            return True
        line_ends = (_LINE_ENDS if self._allows_cr else _LFS).match(buffer, self._start)
        assert line_ends is not None, "zero line ends match, too"
        at = line_ends.end()
        if at < size and not (buffer[at] == _CR and self._allows_cr):
            if at > self._start:
                self._start = self._scan = at
            return True
        if at + 1 < size:
            raise ProtocolError("malformed frame", "a CR between frames is not followed by LF")
        self._consume(at)
        return False

    def _find_blank_line(self, stop: int) -> tuple[int, int]:
        """Return the end of the last header line and the start of the body; (-1, -1): no blank line before `stop`."""
        buffer = self._buffer
        end = buffer.find(b"\n\n", self._scan, stop)
        if self._allows_cr:  # in "\n\r\n\n" the body starts with the last LF
            cr_end = buffer.find(b"\n\r\n", self._scan, end + 1 if end >= 0 else stop)
            if cr_end >= 0:
                return cr_end, cr_end + 3
        return (end, end + 2) if end >= 0 else (-1, -1)

    def _parse_head(self, head: bytes) -> tuple[str, dict[str, str]]:
        try:
            text = head.decode()
        except UnicodeDecodeError as error:
            raise ProtocolError("malformed frame", "the headers are not valid UTF-8") from error
        command, *lines = self._split_lines(text)
        if len(lines) > self.limits.max_headers:
            raise FrameTooLarge(f"{len(lines)} headers, at most {self.limits.max_headers} are allowed")
        is_escaped = "\\" in text and command not in UNESCAPED_COMMANDS
        parse = self._parse_escaped_header if is_escaped else self._parse_header
        headers: dict[str, str] = {}
        for line in lines:
            name, value = parse(line)
            headers.setdefault(name, value)
        return command, headers

    def _split_lines(self, text: str) -> list[str]:
        if not (self._allows_cr and "\r" in text):
            return text.split("\n")
        lines = [line.removesuffix("\r") for line in text.split("\n")]
        if any("\r" in line for line in lines):
            raise ProtocolError("malformed frame", "a CR stands inside a header")
        return lines

    def _parse_escaped_header(self, line: str) -> tuple[str, str]:
        name, value = self._parse_header(line)
        return unescape(name, self.version), unescape(value, self.version)

    def _parse_header(self, line: str) -> tuple[str, str]:
        limit = self.limits.max_header_bytes
        if len(line) * 4 > limit and len(line.encode()) > limit:
            raise FrameTooLarge(f"a header line is longer than {limit} bytes")
        name, colon, value = line.partition(":")
        if self._trims:
            name, value = name.strip(" "), value.strip(" ")
        if not colon or not name:
            raise ProtocolError("malformed frame", f"the header line {line[:64]!r} is not of the form name:value")
        return name, value

    def _body_end(self) -> int | None:
        """Return the index of the NUL that ends the frame, or None if it has not arrived."""
        buffer = self._buffer
        if self._body_length is not None:
            end = self._body_start + self._body_length
            if end >= len(buffer):
                return None
            if buffer[end] != _NUL:
                raise ProtocolError(
                    "malformed frame",
                    f"content-length is {self._body_length}, but no NUL follows that many bytes of body",
                    receipt_id=self._receipt(),
                )
            return end
        end = buffer.find(_NUL, self._scan)
        self._check_size((end + 1 if end >= 0 else len(buffer)) - self._start)
        if end < 0:
            self._scan = len(buffer)
            return None
        return end

    def _readable_receipt(self) -> str | None:
        """Return the receipt id of a frame whose head is invalid in another line, for the ERROR frame."""
        nul = self._buffer.find(_NUL, self._start)
        stop = nul if nul >= 0 else len(self._buffer)
        self._scan = self._start
        end, _ = self._find_blank_line(stop)
        lines = bytes(self._buffer[self._start : end if end >= 0 else stop]).split(b"\n")
        for line in lines[1:] if end >= 0 else lines[1:-1]:  # the last line may be incomplete
            try:
                name, value = self._parse_escaped_header(self._split_lines(line.decode())[0])
            except (ProtocolError, UnicodeDecodeError):
                continue
            if name == "receipt":
                return value
        return None

    def _receipt(self) -> str | None:
        return self._head[1].get("receipt") if self._head else None

    def _check_size(self, size: int) -> None:
        limit = self.limits.max_frame_bytes
        if size > limit:
            raise FrameTooLarge(f"the frame is larger than {limit} bytes", receipt_id=self._receipt())


def _content_length(command: str, headers: Mapping[str, str]) -> int:
    text = headers["content-length"]
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ProtocolError(
            "malformed frame",
            f"content-length of {command[:16]} is {text[:32]!r}, a number of bytes was expected",
            receipt_id=headers.get("receipt"),
        )
    return int(text)
