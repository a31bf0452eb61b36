"""What JavaScript cuts, and where."""

from hypothesis import given
from hypothesis import strategies as st

from app.sockjs.protocol.pieces import Pieces, encode_message


def cut(text: str, at: int) -> tuple[str, str]:
    """As JavaScript does, after `at` units of UTF-16."""
    units = text.encode("utf-16-le", "surrogatepass")
    first, second = units[: 2 * at], units[2 * at :]
    return first.decode("utf-16-le", "surrogatepass"), second.decode("utf-16-le", "surrogatepass")


def test_character_that_was_cut_in_two_is_whole_again() -> None:
    pieces = Pieces()

    assert pieces.encode("a\ud83d") == b"a"
    assert pieces.encode("\ude00b") == "😀b".encode()
    assert pieces.encode("c") == b"c"


def test_half_waits_through_an_empty_piece() -> None:
    pieces = Pieces()

    assert [pieces.encode(piece) for piece in ("\ud83d", "", "\ude00")] == [b"", b"", "😀".encode()]


def test_half_that_stays_alone_is_passed_on_as_it_came() -> None:
    pieces = Pieces()

    assert pieces.encode("\ud83d") == b""
    assert pieces.encode("a\ude00") == encode_message("\ud83da\ude00")


def test_message_of_its_own_waits_for_nothing() -> None:
    assert encode_message("a\ud83d") == b"a\xed\xa0\xbd"


@given(text=st.text(), data=st.data())
def test_wherever_a_stream_is_cut_it_is_the_same(text: str, data: st.DataObject) -> None:
    pieces = Pieces()
    first, second = cut(text, data.draw(st.integers(0, len(text.encode("utf-16-le")) // 2)))

    assert pieces.encode(first) + pieces.encode(second) == text.encode()
