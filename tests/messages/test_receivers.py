import pytest

from app.messages.receivers import receiver_problem


@pytest.mark.parametrize("value", ["a", "bob", "x" * 128, "bob@example.org", "张三", "a b", "a:b", "{a}", "😀" * 128])
def test_ordinary_names_are_accepted(value: str) -> None:
    assert receiver_problem(value) is None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "receiver must not be empty"),
        ("x" * 129, "receiver must not be longer than 128 characters"),
        ("a/b", "receiver must not contain '/'"),
        ("/", "receiver must not contain '/'"),
        ("a\x00b", "receiver must not contain control characters"),
        ("a\nb", "receiver must not contain control characters"),
        ("a\x1fb", "receiver must not contain control characters"),
        ("a\x7fb", "receiver must not contain control characters"),
        ("a\x80b", "receiver must not contain control characters"),
        ("a\x9fb", "receiver must not contain control characters"),
        ("a\ud800", "receiver must not contain lone surrogates"),
        ("\udfffa", "receiver must not contain lone surrogates"),
        (" a", "receiver must not start or end with white space"),
        ("a ", "receiver must not start or end with white space"),
        ("\u3000a", "receiver must not start or end with white space"),
        ("a\u2028", "receiver must not start or end with white space"),
    ],
)
def test_a_name_that_no_push_could_carry_gets_a_sentence_that_says_why(value: str, problem: str) -> None:
    assert receiver_problem(value) == problem


def test_the_caller_supplies_the_noun() -> None:
    assert receiver_problem("", "topic") == "topic must not be empty"
