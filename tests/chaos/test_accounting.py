"""Every column that counts a broken promise, on journals of a few lines: each of them can be other than 0."""

from tests.chaos.accounting import GRACE_S, Account, Accountant
from tests.chaos.journal import Acks, Journal, Push, Reception, Session


class Story:
    """A journal that is written by hand: one user, one publisher, times in seconds."""

    def __init__(self) -> None:
        self.journal = Journal()
        self._order = 0

    def session(self, client: str = "a", subscribed_s: float = 1.0, ended_s: float | None = None) -> Session:
        session = Session(client, "user", has_device=True, node=0, subscribed_s=subscribed_s, ended_s=ended_s)
        self.journal.sessions.append(session)
        self.journal.acks.setdefault(client, Acks())
        return session

    def push(self, tag: str, at_s: float, receiver: str | None = "user", attempts: int = 1) -> Push:
        push = Push(tag, 0, receiver, "own id", persisted=False, own_id=tag, repeatable=True)
        push.begun, push.accepted = self._order + 1, self._order + 2
        self._order += 2
        push.began_s, push.accepted_s, push.attempts = at_s, at_s + 0.01, attempts
        push.outcome, push.status = "accepted", "sent"
        push.ids.add(tag)
        self.journal.pushes[tag] = push
        return push

    def ack(self, client: str, message_id: str, at_s: float) -> None:
        self.journal.acks[client].sent_s[message_id] = at_s
        self.journal.acks[client].confirmed_s[message_id] = at_s

    def account(self) -> Account:
        return Accountant(self.journal).account()


def receive(session: Session, tag: str, at_s: float, message_id: str = "", redelivered: bool = False) -> None:
    session.received.append(Reception(at_s, message_id or tag, tag, redelivered))


def broken(account: Account) -> set[str]:
    lists = ("missed", "missed_new", "lost", "unmarked", "disordered", "acked_resent", "twice", "given_up", "unheard")
    return {name for name in lists if getattr(account, name)}


def test_what_arrives_once_and_in_order_breaks_nothing() -> None:
    story = Story()
    session = story.session()
    for number in range(3):
        story.push(str(number), at_s=2 + number)
        receive(session, str(number), at_s=2.1 + number)
    account = story.account()
    assert not broken(account)
    assert (account.accepted, account.received) == (3, 3)


def test_one_of_two_live_sessions_can_miss_a_message() -> None:
    story = Story()
    receive(story.session("a"), "1", at_s=2.1)
    story.session("b")
    story.push("1", at_s=2)
    assert broken(story.account()) == {"missed"}


def test_a_session_that_ends_soon_leaves_what_it_missed_to_the_next_one() -> None:
    story = Story()
    story.push("1", at_s=2)
    receive(story.session("a"), "1", at_s=2.1)
    story.session("b", ended_s=3)
    assert not broken(story.account())
    story.session("b", subscribed_s=4)
    assert broken(story.account()) == {"missed_new"}
    story.ack("a", "1", at_s=3.5)
    assert not broken(story.account())


def test_a_session_that_ends_late_is_live() -> None:
    story = Story()
    story.push("1", at_s=2)
    receive(story.session("a"), "1", at_s=2.1)
    story.session("b", ended_s=3 + GRACE_S)
    assert broken(story.account()) == {"missed"}


def test_what_reaches_no_session_is_lost() -> None:
    story = Story()
    story.session(ended_s=3)
    story.push("1", at_s=2)
    assert broken(story.account()) == {"lost"}


def test_a_duplicate_needs_its_mark() -> None:
    for redelivered in (True, False):
        story = Story()
        session = story.session()
        story.push("1", at_s=2)
        receive(session, "1", at_s=2.1)
        receive(session, "1", at_s=2.2, redelivered=redelivered)
        assert broken(story.account()) == (set() if redelivered else {"unmarked"})


def test_a_duplicate_needs_its_mark_in_a_later_session_of_the_client_too() -> None:
    story = Story()
    story.push("1", at_s=2)
    receive(story.session(ended_s=3), "1", at_s=2.1)
    receive(story.session(subscribed_s=4), "1", at_s=4)
    assert broken(story.account()) == {"unmarked"}


def test_a_later_message_comes_first() -> None:
    story = Story()
    session = story.session()
    story.push("1", at_s=2)
    story.push("2", at_s=3)
    receive(session, "2", at_s=3.1)
    receive(session, "1", at_s=3.2)
    assert broken(story.account()) == {"disordered"}


def test_a_copy_that_the_client_lost_is_in_order_and_missed() -> None:
    story = Story()
    session = story.session()
    story.push("1", at_s=2)
    story.push("2", at_s=3)
    session.received.append(Reception(2.1, "1", "1", redelivered=False, dropped=True))
    receive(session, "2", at_s=3.1)
    assert broken(story.account()) == {"missed", "lost"}
    receive(session, "1", at_s=5, redelivered=True)
    assert not broken(story.account())


def test_order_is_open_for_what_was_stored_and_while_a_request_is_repeated() -> None:
    story = Story()
    session = story.session()
    stored = story.push("1", at_s=2)
    stored.status = "stored"
    repeated = story.push("2", at_s=3, attempts=2)
    story.push("3", at_s=3)  # of the same batch, accepted before the repetition
    repeated.accepted = 7
    for tag in ("3", "2", "1"):
        receive(session, tag, at_s=5)
    assert not broken(story.account())


def test_an_acknowledged_message_comes_again() -> None:
    story = Story()
    story.push("1", at_s=2)
    receive(story.session(ended_s=3), "1", at_s=2.1)
    story.ack("a", "1", at_s=2.5)
    receive(story.session(subscribed_s=4), "1", at_s=4, redelivered=True)
    assert broken(story.account()) == {"acked_resent"}


def test_a_key_runs_twice() -> None:
    story = Story()
    session = story.session()
    story.push("1", at_s=2, attempts=2)
    receive(session, "1", at_s=2.1)
    receive(session, "1", at_s=2.2, message_id="another")
    assert broken(story.account()) == {"twice"}


def test_an_id_runs_twice() -> None:
    story = Story()
    session = story.session()
    story.push("1", at_s=2, attempts=2)
    receive(session, "1", at_s=2.1)
    receive(session, "1", at_s=2.2)
    assert broken(story.account()) == {"twice", "unmarked"}


def test_a_request_gets_no_lasting_answer() -> None:
    story = Story()
    story.session()
    story.push("1", at_s=2).outcome = "given up"
    assert broken(story.account()) == {"given_up"}


def test_a_broadcast_is_not_heard_unless_its_answer_names_the_node() -> None:
    story = Story()
    story.session()
    push = story.push("1", at_s=2, receiver=None)
    assert broken(story.account()) == {"unheard"}
    push.unreached = ["n0-1a2b"]
    assert not broken(story.account())
