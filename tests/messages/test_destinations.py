import pytest

from app.messages.destinations import topic_problem


@pytest.mark.parametrize("value", ["/topic/a", "/topic/a/b.c", "/topic//", "/topic/消息", "/topic/" + "x" * 248])
def test_a_topic_is_any_printable_name(value: str) -> None:
    assert topic_problem(value) is None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("/topic/", "a topic has the form /topic/<name>"),
        ("/topic", "a topic has the form /topic/<name>"),
        ("", "a topic has the form /topic/<name>"),
        ("/queue/a", "a topic has the form /topic/<name>"),
        ("/Topic/a", "a topic has the form /topic/<name>"),
        ("/topic/" + "x" * 249, "a topic has at most 255 characters"),
        ("/topic/a\nb", "a topic must not contain control characters"),
        ("/topic/a\x00", "a topic must not contain control characters"),
        ("/topic/a\ud800", "a topic must not contain control characters"),
    ],
)
def test_anything_else_gets_a_sentence_that_says_why(value: str, problem: str) -> None:
    assert topic_problem(value) == problem
