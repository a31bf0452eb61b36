import pytest

from app.errors import InvalidMessage
from app.messages.topics import name_problem, topic_destination, topic_name, topic_problem


@pytest.mark.parametrize(
    "name",
    ["a", "a/b.c", "消息", "räume 1", "x" * 248, "ä" * 248, "a\u0308" * 248, "...", "a/.b/c..", "topic/a", "a%20b"],
)
def test_topic_is_any_exact_name(name: str) -> None:
    assert name_problem(name) is None
    assert topic_problem(f"/topic/{name}") is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "topic must not be empty"),
        ("x" * 249, "topic must not be longer than 248 characters"),
        ("a/" * 124 + "b", "topic must not be longer than 248 characters"),
        ("a\u0308" * 249, "topic must not be longer than 248 characters"),
        ("/topic/a", "topic must not start with '/topic/': leave the prefix out"),
        ("/a", "topic must not have an empty segment at position 1"),
        ("a/", "topic must not have an empty segment at position 3"),
        ("a//b", "topic must not have an empty segment at position 3"),
        (".", "topic must not have the path segment '.' at position 1: clients remove it from URLs"),
        ("ab/../c", "topic must not have the path segment '..' at position 4: clients remove it from URLs"),
        ("a/.", "topic must not have the path segment '.' at position 3: clients remove it from URLs"),
        (" ", "topic must not start or end with white space, as U+0020 at position 1"),
        ("ab/c /d", "topic must not start or end with white space, as U+0020 at position 5"),
        ("*", "topic must not contain U+002A (a wildcard) at position 1: exact topics only"),
        ("a/**", "topic must not contain U+002A (a wildcard) at position 3: exact topics only"),
        ("a.#", "topic must not contain U+0023 (a wildcard) at position 3: exact topics only"),
        ("a.>", "topic must not contain U+003E (a wildcard) at position 3: exact topics only"),
        ("ä*", "topic must not contain U+002A (a wildcard) at position 2: exact topics only"),
        ("a\nb", "topic must not contain U+000A (a line break) at position 2"),
        ("a\u2028", "topic must not contain U+2028 (a line break) at position 2"),
        ("a\ud800", "topic must not contain U+D800 (a lone surrogate) at position 2"),
        ("a/\u202eb", "topic must not contain U+202E (a control of text direction) at position 3"),
    ],
)
def test_anything_else_gets_a_sentence_that_says_why(name: str, problem: str) -> None:
    assert name_problem(name) == topic_problem(f"/topic/{name}") == problem
    with pytest.raises(InvalidMessage) as refused:
        topic_name(name)
    assert (refused.value.detail, refused.value.errors) == (problem, [{"loc": ["path", "topic"], "msg": problem}])


@pytest.mark.parametrize("destination", ["", "/topic", "/queue/a", "/Topic/a", "topic/a"])
def test_destination_of_a_topic_has_one_form(destination: str) -> None:
    assert topic_problem(destination) == "a topic has the form /topic/<name>"
    with pytest.raises(InvalidMessage, match=r"^a topic has the form /topic/<name>$"):
        topic_destination(destination)


def test_a_spelling_that_begins_with_a_wildcard_is_the_character_that_it_spells() -> None:
    assert topic_name("a>\u0338b") == topic_name("a\u226fb") == "a\u226fb"
    assert name_problem(">\u0338/>") is not None


def test_both_spellings_are_one_topic() -> None:
    assert topic_name("ra\u0308ume") == topic_name("r\u00e4ume") == "r\u00e4ume"
    assert topic_destination("/topic/ra\u0308ume/a") == "/topic/r\u00e4ume/a"
    assert topic_destination("/topic/news") == "/topic/news"
