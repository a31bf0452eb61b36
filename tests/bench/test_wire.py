"""The bytes that the load generator reads, cut anywhere."""

from bench.load.wire import frame_of_size, masked, payload_of, request, split_frames, split_response


def test_frames_are_found_wherever_the_stream_is_cut() -> None:
    frames = [b"\x81\x01\n", frame_of_size(130), frame_of_size(65_539), b"\x88\x02\x03\xe8"]
    stream = b"".join(frames)
    for cut in (0, 1, 3, 4, 6, 7, 131, 140, len(stream) - 1, len(stream)):
        first, rest = split_frames(stream[:cut])
        second, end = split_frames(rest + stream[cut:])
        assert [*first, *second] == frames
        assert end == b""


def test_payload_is_what_follows_the_head() -> None:
    assert payload_of(b"\x81\x01\n") == b"\n"
    assert len(payload_of(frame_of_size(130))) == 126


def test_frames_of_clients_are_masked_with_nothing() -> None:
    assert masked(b"hi") == b"\x81\x82\0\0\0\0hi"
    assert masked(b"x" * 200)[:8] == b"\x81\xfe\0\xc8\0\0\0\0"


def test_responses_are_found_one_behind_the_other() -> None:
    stream = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 204 No Content\r\n\r\n"
    first = split_response(stream)
    assert first == (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", b"ok", b"HTTP/1.1 204 No Content\r\n\r\n")
    assert split_response(first[2]) == (b"HTTP/1.1 204 No Content\r\n", b"", b"")
    assert split_response(stream[:-60]) is None


def test_request_says_how_long_it_is() -> None:
    assert b"\r\nContent-Length: 2\r\n" in request("/x", b"hi")
