"""How a replay puts together what was read and what arrived meanwhile."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.delivery.merge import merge
from app.hub.publication import Publication
from app.messages.destinations import USER_MESSAGES
from app.messages.message import Envelope, MessageEncoder, NotifyMessage

MS = 1_000  # of a seq, which counts µs


def message(
    id: str, seq: int = 0, *, created: int = 0, persisted: bool = False, was_sent: bool = False, expires_ms: int = 9
) -> Envelope:
    content = NotifyMessage(id=id, type="STRING_MSG", receiver="ann", data=None, viewed=False, created=created)
    return Envelope(content, MessageEncoder(content), expires_ms, persisted=persisted, was_sent=was_sent, seq=seq)


def news(id: str, seq: int = 0) -> Publication:
    return Publication(message_id=id, destination=USER_MESSAGES, body=b"{}", seq=seq)


def ids(messages: Sequence[Envelope | Publication]) -> list[str]:
    return [one.message_id if isinstance(one, Publication) else one.message.id for one in messages]


def test_nothing_is_made_of_nothing() -> None:
    assert list(merge((), (), (), 0)) == []


def test_what_was_read_comes_in_the_order_of_acceptance_wherever_it_was() -> None:
    waiting = [message("w1", 10), message("w3", 30)]
    archived = [message("a2", 20, persisted=True), message("a4", 40, persisted=True)]
    assert ids(merge(waiting, archived, (), 40)) == ["w1", "a2", "w3", "a4"]


def test_what_is_held_comes_after_what_is_older_and_before_what_is_newer() -> None:
    waiting = [message("w1", 10), message("w3", 30)]
    archived = [message("a5", 50, persisted=True)]
    held = [message("h2", 20), message("h4", 40)]
    assert ids(merge(waiting, archived, held, 30)) == ["w1", "h2", "w3", "h4", "a5"]


def test_what_is_held_keeps_the_order_in_which_it_arrived() -> None:
    """An id that was put again after it had expired, or a store that lost its data: seq goes back."""
    held = [message("h1", 50), message("h2", 20), message("h3", 60)]
    assert ids(merge([message("w", 40)], (), held, 40)) == ["w", "h1", "h2", "h3"]


def test_what_is_held_wins_over_what_was_read() -> None:
    """It was sent to no session before, whatever the mailbox thinks."""
    held = message("m1", 10)
    merged = merge([message("m1", 10, was_sent=True)], [message("m1", 10, persisted=True, was_sent=True)], [held], 10)
    assert len(merged) == 1
    assert merged[0] is held


def test_of_a_message_that_is_in_both_the_archive_has_the_life_and_the_mailbox_the_rest() -> None:
    waiting = [message("m1", 10, persisted=True, was_sent=True, expires_ms=5)]
    archived = [message("m1", persisted=True, created=7, expires_ms=999)]
    (merged,) = merge(waiting, archived, (), 10)
    assert isinstance(merged, Envelope)
    assert (merged.seq, merged.was_sent, merged.expires_ms, merged.message.created) == (10, True, 999, 7)


@pytest.mark.parametrize(("created", "expected"), [(1, ["a", "w2", "w3"]), (2, ["w2", "a", "w3"])])
def test_an_archived_message_without_a_seq_has_the_place_of_its_time(created: int, expected: list[str]) -> None:
    waiting = [message("w2", 2 * MS + 500), message("w3", 3 * MS)]
    assert ids(merge(waiting, [message("a", created=created, persisted=True)], (), 3 * MS)) == expected


def test_archived_messages_without_a_seq_and_of_one_time_come_in_the_order_of_their_ids() -> None:
    archived = [message(id, created=1, persisted=True) for id in ("b", "a", "c")]
    assert ids(merge((), archived, (), 0)) == ["a", "b", "c"]


def test_a_publication_with_a_seq_has_its_place_wherever_it_arrived() -> None:
    waiting, archived = [message("w1", 10), message("w3", 30)], [message("a5", 50, persisted=True)]
    held: list[Envelope | Publication] = [news("p4", 40), message("h3", 35), news("p2", 20), news("p6", 60)]
    assert ids(merge(waiting, archived, held, 30)) == ["w1", "p2", "w3", "h3", "p4", "a5", "p6"]


def test_publications_with_and_without_a_seq_come_all() -> None:
    held: list[Envelope | Publication] = [news("old"), news("p2", 20), message("h3", 35)]
    assert ids(merge([message("w1", 10), message("w3", 30)], (), held, 30)) == ["w1", "p2", "w3", "old", "h3"]


def test_a_publication_comes_after_what_was_read_and_before_what_was_held_after_it() -> None:
    waiting = [message("w1", 10), message("w2", 20)]
    assert ids(merge(waiting, (), [news("p1"), message("h3", 30), news("p2")], 20)) == ["w1", "w2", "p1", "h3", "p2"]


def test_a_publication_that_was_held_after_a_message_comes_after_it() -> None:
    held: list[Envelope | Publication] = [message("h3", 30), news("p1"), message("h5", 50)]
    archived = [message("a4", 40, persisted=True), message("a2", 15, persisted=True)]
    assert ids(merge([message("w1", 10)], archived, held, 20)) == ["w1", "a2", "h3", "p1", "a4", "h5"]


@given(
    st.lists(st.tuples(st.sampled_from(("waiting", "archived", "held", "news")), st.booleans()), max_size=30),
    st.data(),
)
def test_everything_comes_once_and_in_order(kinds: list[tuple[str, bool]], data: st.DataObject) -> None:
    waiting, archived, held = list[Envelope](), list[Envelope](), list[Envelope | Publication]()
    expected = list[str]()
    for seq, (kind, is_in_both) in enumerate(kinds, start=1):
        id = f"m{seq}"
        if kind == "news":
            held.append(news(id))
            continue
        expected.append(id)
        one = message(id, seq, persisted=kind == "archived")
        {"waiting": waiting, "archived": archived, "held": held}[kind].append(one)  # type: ignore[attr-defined]
        if is_in_both:
            data.draw(st.sampled_from((waiting, archived))).append(one)
    merged = merge(waiting, archived, held, 0)
    assert [id for id in ids(merged) if id in expected] == expected
    of_held = set(ids(held))
    assert [id for id in ids(merged) if id in of_held] == ids(held)
    assert len(merged) == len(kinds)


def test_a_publication_that_was_held_before_the_reading_does_not_reorder_what_came_after_it() -> None:
    """The message behind it was accepted before the mailbox was read, and so was one that did not arrive here."""
    held: list[Envelope | Publication] = [news("p1"), message("h2", 20)]
    assert ids(merge([message("w1", 10), message("h2", 20), message("w3", 30)], (), held, 30)) == [
        "w1",
        "p1",
        "h2",
        "w3",
    ]


def test_of_persisted_messages_that_wait_only_the_oldest_are_sent() -> None:
    """A session may leave a limited number unacknowledged."""
    waiting = [
        message("w1", 10),
        message("p2", 20, persisted=True),
        message("p4", 40, persisted=True),
        message("w5", 50),
    ]
    archived = [message("a0", 5, persisted=True), message("a3", 30, persisted=True)]
    held = [message("h6", 60, persisted=True)]
    assert ids(merge(waiting, archived, held, 50, limit=2)) == ["a0", "w1", "p2", "w5", "h6"]
    assert len(merge(waiting, archived, held, 50, limit=4)) == len(merge(waiting, archived, held, 50)) == 7
