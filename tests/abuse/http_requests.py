"""Requests, valid and broken, that two servers are given. Each body holds what looks like a request."""

from collections.abc import Iterator, Mapping

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(SMUGGLED)
TE = b"Transfer-Encoding: chunked\r\n"
HALF = len(SMUGGLED) // 2
CHUNKS = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (HALF, SMUGGLED[:HALF], len(SMUGGLED) - HALF, SMUGGLED[HALF:])
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"


def request(
    line: bytes = b"POST / HTTP/1.1", headers: bytes = b"", body: bytes = b"", host: bytes = b"Host: a\r\n"
) -> bytes:
    return line + b"\r\n" + host + headers + b"\r\n" + body


def with_length(headers: bytes = b"", line: bytes = b"POST / HTTP/1.1") -> bytes:
    return request(line, headers + LENGTH, SMUGGLED)


def in_chunks(headers: bytes = b"", chunks: bytes = CHUNKS) -> bytes:
    return request(headers=headers + TE, body=chunks)


def _methods() -> Iterator[tuple[str, bytes]]:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "QUERY", "BREW"):
        yield f"{method}", request(f"{method} / HTTP/1.1".encode())
        yield f"{method} with a body", with_length(line=f"{method} / HTTP/1.1".encode())


def _targets() -> Iterator[tuple[str, bytes]]:
    targets = {
        "path": b"/a/b",
        "query": b"/a?b=c&d",
        "empty query": b"/a?",
        "two question marks": b"/a?b?c",
        "percent": b"/a%20b",
        "bad percent": b"/%zz",
        "encoded slash": b"/a%2Fb",
        "encoded UTF-8": b"/%C3%BC",
        "encoded latin": b"/%FC",
        "encoded zero": b"/%00",
        "dots": b"/../a/./b",
        "two slashes": b"//a",
        "fragment": b"/a#b",
        "semicolon": b"/a;b",
        "tilde": b"/~a",
        "absolute": b"http://a/b?c",
        "absolute without path": b"http://a",
        "asterisk": b"*",
        "authority": b"a:80",
        "relative": b"a",
        "bytes": b"/\xff",
        "quote": b'/"',
        "braces": b"/{a}",
        "backslash": b"/a\\b",
        "bar": b"/a|b",
        "tab": b"/a\tb",
        "zero": b"/\0",
        "long": b"/" + b"a" * 5_000,
    }
    for name, target in targets.items():
        yield f"target: {name}", request(b"GET %b HTTP/1.1" % target)


def _lines() -> Iterator[tuple[str, bytes]]:
    lines = {
        "1.0": b"GET / HTTP/1.0",
        "0.9": b"GET /",
        "0.9 with a version": b"GET / HTTP/0.9",
        "1.2": b"GET / HTTP/1.2",
        "2.0": b"GET / HTTP/2.0",
        "3": b"GET / HTTP/3",
        "small letters": b"GET / http/1.1",
        "no version": b"GET / ",
        "two blanks": b"GET  / HTTP/1.1",
        "blank at the end": b"GET / HTTP/1.1 ",
        "blank at the start": b" GET / HTTP/1.1",
        "tab": b"GET\t/ HTTP/1.1",
        "small method": b"get / HTTP/1.1",
        "no method": b"/ HTTP/1.1",
        "only a method": b"GET",
        "ICY": b"GET / ICY/1.0",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
        "preface": b"PRI * HTTP/2.0",
        "CONNECT": b"CONNECT a:80 HTTP/1.1",
        "zero": b"GET\0 / HTTP/1.1",
    }
    for name, line in lines.items():
        yield f"line: {name}", request(line)
    yield "line: after empty lines", b"\r\n\r\n" + request(b"GET / HTTP/1.1")
    yield "line: ends with LF", request(b"GET / HTTP/1.1").replace(b"\r\n", b"\n")
    yield "line: ends with CR", b"GET / HTTP/1.1\rHost: a\r\r"


def _headers() -> Iterator[tuple[str, bytes]]:
    headers = {
        "empty value": b"x:\r\n",
        "no blank": b"x:y\r\n",
        "many blanks": b"x:  \t y \t \r\n",
        "latin": b"x: \xfc\r\n",
        "UTF-8": b"x: \xc3\xbc\r\n",
        "comma": b"x: a, b\r\n",
        "twice": b"x: a\r\nx: b\r\n",
        "blank before colon": b"x : y\r\n",
        "blank before name": b" x: y\r\n",
        "folded": b"x: y\r\n z\r\n",
        "no colon": b"x\r\n",
        "no name": b": y\r\n",
        "zero in value": b"x: \0\r\n",
        "CR in value": b"x: a\rb\r\n",
        "LF alone": b"x: y\nz: a\r\n",
        "bell in value": b"x: \x07\r\n",
        "bad name": b"x(y): z\r\n",
        "name in latin": b"\xfc: y\r\n",
        "underscore": b"x_y: z\r\n",
        "long": b"x: " + b"y" * 5_000 + b"\r\n",
        "Expect": b"Expect: 100-continue\r\n",
        "unknown Expect": b"Expect: tea\r\n",
        "close": b"Connection: close\r\n",
        "keep-alive": b"Connection: keep-alive\r\n",
        "upgrade alone": b"Connection: upgrade\r\n",
        "h2c without Connection": b"Upgrade: h2c\r\n",
        "h2c": H2C,
        "h2c and close": b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n",
        "two Connections": b"Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
        "TLS upgrade": b"Connection: upgrade\r\nUpgrade: TLS/1.2, HTTP/1.1\r\n",
    }
    for name, lines in headers.items():
        yield f"header: {name}", request(b"GET / HTTP/1.1", lines)
        yield f"header: {name}, with a body", with_length(lines)
        yield f"header: {name}, in chunks", in_chunks(lines)
    for name, host in {
        "no": b"",
        "two": b"Host: a\r\nHost: b\r\n",
        "empty": b"Host:\r\n",
        "with a port": b"Host: a:80\r\n",
    }.items():
        yield f"Host: {name}", request(b"GET / HTTP/1.1", host=host)
        yield f"Host: {name}, HTTP/1.0", request(b"GET / HTTP/1.0", host=host)


def _lengths() -> Iterator[tuple[str, bytes]]:
    size = b"%d" % len(SMUGGLED)
    values = {
        "plus": b"+" + size,
        "minus": b"-" + size,
        "hex": b"0x23",
        "blank": size[:1] + b" " + size[1:],
        "zeros": b"000" + size,
        "empty": b"",
        "list": size + b", " + size,
        "two values": size + b", 1",
        "huge": b"9" * 30,
        "words": b"many",
        "fraction": size + b".0",
        "underscore": size[:1] + b"_" + size[1:],
    }
    for name, value in values.items():
        yield f"length: {name}", request(headers=b"Content-Length: " + value + b"\r\n", body=SMUGGLED)
    yield "length: twice", request(headers=LENGTH * 2, body=SMUGGLED)
    yield "length: two", request(headers=LENGTH + b"Content-Length: 1\r\n", body=SMUGGLED)
    yield "length: and chunks", request(headers=LENGTH + TE, body=CHUNKS)
    yield "length: after chunks", request(headers=TE + LENGTH, body=CHUNKS)
    yield "length: of 0", request(headers=b"Content-Length: 0\r\n")
    yield "length: HTTP/1.0", with_length(line=b"POST / HTTP/1.0")


def _chunks() -> Iterator[tuple[str, bytes]]:
    one = b"%x\r\n%b\r\n" % (len(SMUGGLED), SMUGGLED)
    bodies = {
        "extension": one.replace(b"\r\n", b";a=b\r\n", 1) + b"0\r\n\r\n",
        "quoted extension": one.replace(b"\r\n", b';a="b;c"\r\n', 1) + b"0\r\n\r\n",
        "trailer": one + b"0\r\nx: y\r\n\r\n",
        "capitals": one.replace(b"23", b"0023", 1) + b"0\r\n\r\n",
        "blank after size": one.replace(b"\r\n", b" \r\n", 1) + b"0\r\n\r\n",
        "blank before size": b" " + one + b"0\r\n\r\n",
        "minus": b"-" + one,
        "hex prefix": b"0x" + one,
        "LF after size": one.replace(b"\r\n", b"\n", 1) + b"0\r\n\r\n",
        "no size": b"\r\n" + SMUGGLED,
        "huge size": b"f" * 17 + b"\r\n",
        "too much": one.replace(b"\r\n\r\n", b"\r\n\r\nX", 1) + b"0\r\n\r\n",
        "too little": b"5\r\nabc\r\n0\r\n\r\n",
        "no CRLF": b"3\r\nabc0\r\n\r\n",
        "LF at the end": one + b"0\r\n\n",
        "bad trailer": one + b"0\r\nx y\r\n\r\n",
        "zeros at the end": one + b"000\r\n\r\n",
        "LF in extension": one.replace(b"\r\n", b";a\nb\r\n", 1) + b"0\r\n\r\n",
    }
    for name, body in bodies.items():
        yield f"chunks: {name}", request(headers=TE, body=body)
    for coding in (
        b"gzip",
        b"gzip, chunked",
        b"chunked, gzip",
        b"chunked, chunked",
        b"identity",
        b"CHUNKED",
        b"xchunked",
        b'"chunked"',
        b"chunked;a=b",
        b"",
    ):
        yield f"coding: {coding.decode()}", request(headers=b"Transfer-Encoding: " + coding + b"\r\n", body=CHUNKS)
    yield "coding: two lines", request(headers=TE + TE, body=CHUNKS)
    yield "coding: blank before colon", request(headers=TE.replace(b":", b" :"), body=CHUNKS)
    yield "coding: HTTP/1.0", request(b"POST / HTTP/1.0", TE, CHUNKS)


REQUESTS: Mapping[str, bytes] = dict([*_methods(), *_targets(), *_lines(), *_headers(), *_lengths(), *_chunks()])

CUT = (
    "POST with a body",
    "GET with a body",
    "target: absolute",
    "line: 1.0",
    "line: after empty lines",
    "header: h2c, with a body",
    "header: h2c, in chunks",
    "header: two Connections, in chunks",
    "header: TLS upgrade, with a body",
    "header: Expect, in chunks",
    "chunks: trailer",
    "chunks: quoted extension",
    "chunks: no CRLF",
    "length: and chunks",
    "length: two",
    "header: folded, in chunks",
    "line: TLS",
    "header: close, with a body",
)
