import tracemalloc

import pytest

from app.hub.publication import REMEMBERED_BYTES, Profile, Publication, encode_message, profile_of
from app.stomp.frames import Version

PUBLICATION = Publication(message_id="m:1", destination="/topic/a", body=b'{"a":1}')
V10, V11, V12 = Version


@pytest.mark.parametrize(
    ("profile", "frame"),
    [
        (
            Profile(V12, "s:1", False),
            b"MESSAGE\nsubscription:s\\c1\nmessage-id:m\\c1\ndestination:/topic/a\ncontent-type:application/json\n"
            b'content-length:7\n\n{"a":1}\0',
        ),
        (
            Profile(V12, "7", True),
            b"MESSAGE\nsubscription:7\nmessage-id:m\\c1\ndestination:/topic/a\ncontent-type:application/json\n"
            b'content-length:7\nack:m\\c1/7\n\n{"a":1}\0',
        ),
        (
            Profile(V11, "7", True),
            b"MESSAGE\nsubscription:7\nmessage-id:m\\c1\ndestination:/topic/a\ncontent-type:application/json\n"
            b'content-length:7\n\n{"a":1}\0',
        ),
        (
            Profile(V10, None, True),
            b"MESSAGE\nmessage-id:m:1\ndestination:/topic/a\ncontent-type:application/json\n"
            b'content-length:7\n\n{"a":1}\0',
        ),
    ],
)
def test_a_message_is_written_for_the_version_and_the_subscription(profile: Profile, frame: bytes) -> None:
    assert encode_message(PUBLICATION, profile) == frame


def test_an_ack_id_without_a_subscription_id_ends_with_the_slash() -> None:
    assert b"\nack:m\\c1/\n" in encode_message(PUBLICATION, Profile(V12, None, True))


def test_own_headers_go_between_the_standard_ones_and_the_body() -> None:
    publication = Publication(
        message_id="m", destination="/topic/a", body=b"", content_type="text/plain", headers=(("attempt", "2"),)
    )
    assert encode_message(publication, Profile(V12, "0", False)).endswith(
        b"content-type:text/plain\ncontent-length:0\nattempt:2\n\n\0"
    )


def test_headers_of_the_server_come_before_those_of_users() -> None:
    publication = Publication("m", "/topic/a", b"", headers=(("Ack", "forged"),))
    frame = encode_message(publication, Profile(V12, "0", True))
    assert frame.endswith(b"\ncontent-length:0\nack:m/0\nAck:forged\n\n\0")


class Counted(str):
    """A header value that knows how often it was written."""

    __slots__ = ()
    written = 0

    def translate(self, table: object) -> str:
        Counted.written += 1
        return str(self)


def test_user_headers_are_encoded_once_for_each_version() -> None:
    publication = Publication("m", "/topic/a", b"", headers=(("x", Counted("y:z")),))
    Counted.written = 0
    for version in (V11, V12):
        frames = [encode_message(publication, Profile(version, f"s-{number}", False)) for number in range(100)]
        assert all(b"\nx:y:z\n" in frame for frame in frames)
    assert Counted.written == 2


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        (V12, b"\na\\cb:c\\nd\nx:e\\rf\\\\\n\n"),
        (V11, b"\na\\cb:c\\nd\nx:e\rf\\\\\n\n"),
        (V10, b"content-length:0\nx:e\rf\\\n\n"),
    ],
)
def test_headers_are_escaped_as_the_version_has_it_or_left_out(version: Version, lines: bytes) -> None:
    publication = Publication("m", "/topic/a", b"", headers=(("a:b", "c\nd"), ("x", "e\rf\\")))
    assert lines in encode_message(publication, Profile(version, "0", False))


def test_a_publication_is_encoded_once_for_each_profile() -> None:
    publication = Publication("m", "/topic/a", b"")
    first = publication.frame_for(profile_of(V12, "0", False))
    assert publication.frame_for(profile_of(V12, "0", False)) is first
    assert publication.frame_for(profile_of(V12, "1", False)) != first


def test_frames_that_many_profiles_need_do_not_fill_the_memory() -> None:
    publication = Publication("m", "/topic/a", b"x" * 1_000_000)
    common = profile_of(V12, "0", False)
    tracemalloc.start()
    try:
        for number in range(100):
            assert b"\nsubscription:0\n" not in publication.frame_for(Profile(V12, f"s-{number}", False))
        assert publication.frame_for(common) is publication.frame_for(common)
        assert tracemalloc.get_traced_memory()[0] < 2 * REMEMBERED_BYTES
    finally:
        tracemalloc.stop()


def test_profiles_that_come_in_turns_are_not_all_forgotten() -> None:
    publication = Publication("m", "/topic/a", b"x" * 100_000)
    profiles = [Profile(V12, f"s-{number}", False) for number in range(90)]
    first = [publication.frame_for(profile) for profile in profiles]
    again = [publication.frame_for(profile) for profile in profiles]
    assert sum(one is other for one, other in zip(first, again, strict=True)) > 80


def test_headers_that_are_kept_are_of_the_destination_and_the_type() -> None:
    profile = Profile(V12, "0", False)
    for destination in ("/topic/a", "/topic/b", "/topic/a", "/topic/" + "x" * 250):
        for content_type in ("application/json", "text/plain"):
            publication = Publication("m", destination, b"", content_type=content_type)
            frame = encode_message(publication, profile)
            assert f"\ndestination:{destination}\ncontent-type:{content_type}\n".encode() in frame


def test_nobody_can_make_equal_subscribers_differ() -> None:
    profile = profile_of(V12, "0", False)
    others = [profile_of(V12, f"other-{number}", False) for number in range(5_000)]

    assert profile_of(V12, "0", False) is profile
    assert profile_of(V11, "0", False) is not profile
    assert profile_of(V12, "0", True) is not profile
    assert len({*others}) == len(others)


def test_long_ids_that_clients_choose_are_not_remembered() -> None:
    tracemalloc.start()
    try:
        for number in range(1_200):
            encode_message(PUBLICATION, profile_of(V12, f"\N{PARTY POPPER}{'x' * 8_000}{number}", False))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size < 1_000_000  # of 40 MB that were written
