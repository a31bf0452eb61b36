import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidMessage
from app.messages.receivers import receiver_name, receiver_problem


@pytest.mark.parametrize(
    "value",
    ["a", "bob", "x" * 128, "bob@example.org", "张三", "a b", "a:b", "{a}", "😀" * 128, "...", ".a", "a..", "%2E", "*"],
)
def test_ordinary_names_are_accepted(value: str) -> None:
    assert receiver_problem(value) is None


@pytest.mark.parametrize("value", ["e\u0301" * 128, "👨\u200d👩\u200d👧", "می\u200cخواهم", "a\u00a0b"])
def test_all_scripts_are_accepted(value: str) -> None:
    assert receiver_problem(value) is None


CHARACTERS = {
    "/": "U+002F (a slash)",
    "\x00": "U+0000 (a control character)",
    "\t": "U+0009 (a control character)",
    "\n": "U+000A (a line break)",
    "\r": "U+000D (a line break)",
    "\x1f": "U+001F (a control character)",
    "\x7f": "U+007F (a control character)",
    "\x80": "U+0080 (a control character)",
    "\x85": "U+0085 (a line break)",
    "\x9f": "U+009F (a control character)",
    "\u061c": "U+061C (a control of text direction)",
    "\u200e": "U+200E (a control of text direction)",
    "\u200f": "U+200F (a control of text direction)",
    "\u2028": "U+2028 (a line break)",
    "\u2029": "U+2029 (a line break)",
    "\u202a": "U+202A (a control of text direction)",
    "\u202e": "U+202E (a control of text direction)",
    "\u2066": "U+2066 (a control of text direction)",
    "\u2069": "U+2069 (a control of text direction)",
    "\ufffd": "U+FFFD (which stands for invalid UTF-8)",
}


@pytest.mark.parametrize(("character", "named"), CHARACTERS.items())
def test_forbidden_character_is_named_with_its_place(character: str, named: str) -> None:
    for name, position in ((f"ab{character}c", 3), (character, 1), (f"é{character}{character}", 2)):
        assert receiver_problem(name) == f"receiver must not contain {named} at position {position}"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "receiver must not be empty"),
        ("x" * 129, "receiver must not be longer than 128 characters"),
        ("e\u0301" * 129, "receiver must not be longer than 128 characters"),
        ("\u0344" * 65, "receiver must not be longer than 128 characters"),  # one of few that NFC makes longer
        ("\u0315\u0300" * 500_000, "receiver must not be longer than 128 characters"),
        ("ab\ud800", "receiver must not contain U+D800 (a lone surrogate) at position 3"),
        ("\udfff", "receiver must not contain U+DFFF (a lone surrogate) at position 1"),
        (".", "receiver must not have the path segment '.' at position 1: clients remove it from URLs"),
        ("..", "receiver must not have the path segment '..' at position 1: clients remove it from URLs"),
        (" a", "receiver must not start or end with white space, as U+0020 at position 1"),
        ("ab ", "receiver must not start or end with white space, as U+0020 at position 3"),
        (" ", "receiver must not start or end with white space, as U+0020 at position 1"),
        ("\u3000a", "receiver must not start or end with white space, as U+3000 at position 1"),
        ("a\u00a0", "receiver must not start or end with white space, as U+00A0 at position 2"),
    ],
)
def test_a_name_that_no_push_could_carry_gets_a_sentence_that_says_why(value: str, problem: str) -> None:
    assert receiver_problem(value) == problem
    with pytest.raises(InvalidMessage) as refused:
        receiver_name(value)
    assert (refused.value.detail, refused.value.errors) == (problem, [{"loc": ["receiver"], "msg": problem}])


def test_the_caller_supplies_the_noun() -> None:
    assert receiver_problem("", "topic") == "topic must not be empty"
    with pytest.raises(InvalidMessage, match=r"^user must not be empty$"):
        receiver_name("", "user")


def test_both_spellings_are_one_user() -> None:
    assert receiver_name("zoe\u0308") == receiver_name("zo\u00eb") == "zo\u00eb"
    assert receiver_name("\u212b") == "\u00c5"  # the sign of the angstrom is the letter


@given(st.text(st.sampled_from("ae./ *#>\u0301\u0338\u0308\u2000\u202e\u0344\u1100\u1161\u11a8é\n"), max_size=12))
def test_name_that_was_taken_is_taken_again_as_it_is(value: str) -> None:
    if receiver_problem(value) is None:
        name = receiver_name(value)
        assert receiver_problem(name) is None
        assert receiver_name(name) == name
