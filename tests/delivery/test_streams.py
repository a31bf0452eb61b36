"""The order of messages at one node, one event at a time."""

from collections.abc import Awaitable, Callable, Container

import pytest

from app.cluster.mailbox.memory import MemoryMailbox, MemoryStore
from app.cluster.relay.memory import MemoryBus, MemoryRelay
from app.delivery import streams as streams_module
from app.delivery.mailbox import MailboxLimits, Missed
from app.delivery.streams import Streams
from app.errors import Unavailable
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.timing.tasks import TaskOwner
from tests.clock import FakeClock
from tests.eventually import eventually


def message(seq: int) -> Envelope:
    content = NotifyMessage(id=f"m{seq}", type="STRING_MSG", receiver="ann", data=None, viewed=False, created=1)
    return Envelope(content, MessageEncoder(content), 60_000, seq=seq)


class ScriptedMailbox(MemoryMailbox):
    """Answers `catch_up` when the test says so; `failures` calls fail first, as if the server was away."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(MailboxLimits(), FakeClock()))
        self.asked: list[tuple[str, int]] = []
        self.answers: list[Callable[[Missed], None]] = []
        self.failures = 0

    def catch_up(self, user: str, cursor: int, on_answer: Callable[[Missed], None]) -> Awaitable[None] | None:  # type: ignore[override]  # the port allows both
        self.asked.append((user, cursor))
        self.answers.append(on_answer)
        return self._fail() if self.failures else None

    async def _fail(self) -> None:
        self.failures -= 1
        raise Unavailable("lost on the way")

    def answer(self, *seqs: int, head: int | None = None, more: bool = False, is_new: bool = False) -> None:
        """To the oldest question that has no answer yet."""
        envelopes = [message(seq) for seq in seqs]
        last = head if head is not None else seqs[-1]
        self.answers.pop(0)(Missed(last, envelopes, more=more, is_new=is_new))


class BusyRelay(MemoryRelay):
    """While `busy`, what is to happen in order waits for `turn_comes`."""

    def __init__(self) -> None:
        super().__init__(MemoryBus())
        self.busy = False
        self.waiting: list[Callable[[], None]] = []
        self.renewed: list[str] = []

    def renew_user(self, user: str) -> None:
        self.renewed.append(user)

    def in_order(self, action: Callable[[], None]) -> None:
        if self.busy:
            self.waiting.append(action)
        else:
            action()

    def turn_comes(self) -> None:
        self.busy = False
        waiting, self.waiting = self.waiting, []
        for action in waiting:
            action()


class Desk:
    """Streams beside what they call; `applied` is what the sessions got."""

    def __init__(self) -> None:
        self.mailbox, self.relay, self.tasks = ScriptedMailbox(), BusyRelay(), TaskOwner()
        self.applied: list[int] = []
        self.bad = 0
        self.lost: list[str] = []
        self.holds = False
        self.restarted: list[str] = []
        self.replayed: list[str] = []
        self.seqs: Container[int] = ()
        self.streams = Streams(
            mailbox=self.mailbox,
            relay=self.relay,
            listeners=self,  # type: ignore[arg-type]  # as far as streams know listeners
            restart=self.restart,
            tasks=self.tasks,
        )

    def restart(self, user: str, seqs: Container[int]) -> Callable[[], None]:
        self.restarted.append(user)
        self.seqs = seqs
        return lambda: self.replayed.append(user)

    def apply(self, envelope: Envelope) -> None:
        if envelope.seq == self.bad:
            raise ValueError("a defect")
        self.applied.append(envelope.seq)

    def lose(self, user: str) -> None:
        self.lost.append(user)

    def hold_broadcasts(self, user: str) -> None:
        self.holds = True

    def release_broadcasts(self, user: str) -> None:
        self.holds = False

    def opened(self, head: int = 10) -> "Desk":
        """Ann's mailbox was read; its head is the cursor."""
        self.streams.open("ann")
        self.streams.read("ann", head)
        return self

    def arrives(self, seq: int, previous: int) -> bool:
        is_next = self.streams.accept("ann", seq, previous)
        if is_next:
            self.applied.append(seq)
        return is_next

    async def asks(self, count: int = 1) -> None:
        """So often in all it was asked what was missed, and is asked no more."""
        await eventually(lambda: len(self.mailbox.asked) >= count)
        await eventually(lambda: len(self.tasks) == 0)
        assert len(self.mailbox.asked) == count


# Live


async def test_the_next_message_is_applied_and_moves_the_cursor() -> None:
    desk = Desk().opened(10)
    assert [desk.arrives(11, 10), desk.arrives(15, 11), desk.arrives(16, 15)] == [True] * 3
    await desk.asks(0)


async def test_what_was_applied_is_not_applied_again() -> None:
    desk = Desk().opened(10)
    desk.arrives(11, 10)
    assert [desk.arrives(11, 10), desk.arrives(10, 9), desk.arrives(3, 0)] == [False] * 3
    await desk.asks(0)


async def test_before_the_mailbox_was_read_everything_is_applied() -> None:
    """The sessions hold it, and know what they are sent twice."""
    desk = Desk()
    desk.streams.open("ann")
    assert [desk.arrives(12, 11), desk.arrives(99, 50)] == [True, True]
    await desk.asks(0)


async def test_what_comes_from_a_node_of_an_earlier_version_is_applied_outside_the_order() -> None:
    desk = Desk().opened(10)
    assert desk.arrives(5, -1)
    desk.streams.resume(["ann"])
    assert desk.arrives(7, -1)
    await desk.asks()
    desk.mailbox.answer(head=10)
    assert desk.arrives(11, 10)


async def test_a_user_without_sessions_gets_nothing() -> None:
    desk = Desk()
    assert not desk.arrives(1, 0)
    desk.streams.read("ann", 5)
    desk.streams.resume(["ann"])
    await desk.asks(0)


async def test_opening_again_keeps_the_cursor_and_closing_forgets_it() -> None:
    desk = Desk().opened(10)
    desk.streams.open("ann")
    assert not desk.arrives(10, 9)
    desk.streams.close("ann")
    desk.streams.close("ann")
    assert not desk.arrives(11, 10)
    desk.streams.open("ann")
    assert desk.arrives(9, 8), "it has no cursor"
    assert desk.mailbox._store._watchers == {"ann": 1}


# Gaps


async def test_a_gap_is_filled_from_the_mailbox_and_what_arrives_meanwhile_is_in_the_answer() -> None:
    desk = Desk().opened(10)
    assert not desk.arrives(13, 12)
    await desk.asks()
    assert desk.mailbox.asked == [("ann", 10)]
    assert not desk.arrives(14, 13)
    desk.mailbox.answer(11, 12, 13, 14)
    assert desk.applied == [11, 12, 13, 14]
    assert [desk.arrives(14, 13), desk.arrives(15, 14)] == [False, True]
    await desk.asks()


async def test_the_answer_has_its_turn_after_what_came_before_it() -> None:
    desk = Desk().opened(10)
    desk.arrives(12, 11)
    await desk.asks()
    desk.relay.busy = True
    desk.mailbox.answer(11, 12)
    assert desk.applied == []
    desk.relay.turn_comes()
    assert desk.applied == [11, 12]


async def test_an_answer_for_a_stream_that_was_closed_meanwhile_is_dropped() -> None:
    desk = Desk().opened(10)
    desk.arrives(12, 11)
    await desk.asks()
    desk.streams.close("ann")
    desk.mailbox.answer(11, 12)
    assert desk.applied == []
    desk.opened(20).arrives(22, 21)
    await desk.asks(2)
    desk.streams.close("ann")
    desk.opened(30)
    desk.mailbox.answer(21, 22)
    assert desk.applied == []
    assert desk.arrives(31, 30)


async def test_a_stream_that_is_closed_before_it_asks_does_not_ask() -> None:
    desk = Desk().opened(10)
    desk.arrives(12, 11)
    desk.streams.close("ann")
    await desk.asks(0)
    desk.opened(20).arrives(22, 21)
    desk.streams.close("ann")
    desk.streams.open("ann")
    await desk.asks(0)


# Broadcasts wait


async def test_broadcasts_wait_while_messages_are_missing() -> None:
    desk = Desk().opened(10)
    assert not desk.holds
    desk.arrives(12, 11)
    assert desk.holds
    await desk.asks()
    desk.mailbox.answer(11, head=12, more=True)
    assert desk.holds
    await desk.asks(2)
    desk.mailbox.answer(12)
    assert not desk.holds


async def test_broadcasts_wait_from_a_loss_of_the_relay_until_what_was_missed_has_come() -> None:
    desk = Desk().opened(10)
    desk.streams.lose(["bob"])
    assert not desk.holds
    desk.streams.lose(["ann"])
    assert desk.holds
    desk.streams.resume(["ann"])
    await desk.asks()
    desk.streams.lose(["ann"])
    desk.mailbox.answer(head=10)
    assert desk.holds, "the answer is from before the second loss"
    desk.streams.resume(["ann"])
    await desk.asks(2)
    desk.mailbox.answer(head=10)
    assert not desk.holds


@pytest.mark.parametrize("how", ["close", "lost"])
async def test_broadcasts_wait_for_nothing_once_nothing_will_come(how: str) -> None:
    desk = Desk().opened(10)
    desk.arrives(12, 11)
    await desk.asks()
    if how == "close":
        desk.streams.close("ann")
    else:
        desk.mailbox.answers.pop(0)(Missed(12, (), is_lost=True))
    assert not desk.holds


# A head that was read


async def test_a_head_that_the_cursor_has_changes_nothing() -> None:
    desk = Desk().opened(10)
    desk.streams.read("ann", 10)
    await desk.asks(0)


async def test_a_head_beyond_the_cursor_shows_what_the_subscription_has_missed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk().opened(10)
    desk.streams.read("ann", 12)
    desk.streams.read("ann", 12)
    await desk.asks()
    desk.mailbox.answer(11, 12)
    assert desk.applied == [11, 12]
    assert caplog.text.count("did not arrive") == 1
    assert desk.relay.renewed == ["ann"]


async def test_a_head_has_its_turn_after_what_came_before_it() -> None:
    desk = Desk().opened(10)
    desk.relay.busy = True
    desk.streams.read("ann", 11)
    desk.arrives(11, 10)
    desk.relay.turn_comes()
    await desk.asks(0)


# After a loss of the relay


async def test_a_resume_asks_what_was_missed() -> None:
    desk = Desk().opened(10)
    desk.streams.resume(["ann", "bob"])
    await desk.asks()
    desk.mailbox.answer(head=10)
    assert desk.applied == []
    assert desk.arrives(11, 10)


async def test_a_resume_while_an_answer_is_awaited_asks_again() -> None:
    """That answer may be from before the loss."""
    desk = Desk().opened(10)
    desk.streams.resume(["ann"])
    await desk.asks()
    desk.streams.resume(["ann"])
    desk.mailbox.answer(11)
    await desk.asks(2)
    assert desk.mailbox.asked == [("ann", 10), ("ann", 11)]
    assert not desk.arrives(13, 12), "it is in the answer"
    desk.mailbox.answer(12, 13)
    assert desk.applied == [11, 12, 13]
    assert desk.arrives(14, 13)


async def test_a_resume_before_the_mailbox_was_read_asks_after_that() -> None:
    desk = Desk()
    desk.streams.open("ann")
    desk.streams.resume(["ann"])
    await desk.asks(0)
    desk.streams.read("ann", 10)
    desk.streams.read("ann", 10)
    await desk.asks()
    desk.mailbox.answer(11)
    assert desk.applied == [11]


# Answers


async def test_an_answer_in_parts_is_applied_part_by_part() -> None:
    desk = Desk().opened(10)
    desk.streams.resume(["ann"])
    await desk.asks()
    desk.mailbox.answer(11, 12, head=14, more=True)
    await desk.asks(2)
    assert desk.mailbox.asked[1] == ("ann", 12)
    assert not desk.arrives(15, 14)
    desk.mailbox.answer(13, 14, 15)
    assert desk.applied == [11, 12, 13, 14, 15]
    assert desk.arrives(16, 15)


async def test_what_cannot_be_known_ends_the_sessions_and_the_mailbox_is_to_be_read_anew() -> None:
    desk = Desk().opened(10)
    desk.streams.resume(["ann"])
    desk.streams.resume(["ann"])
    await desk.asks()
    desk.mailbox.answers.pop()(Missed(99, is_lost=True))
    assert (desk.lost, desk.applied, desk.restarted) == (["ann"], [], [])
    assert desk.arrives(100, 99), "held by those who come"
    desk.streams.read("ann", 100)
    assert desk.arrives(101, 100)
    await desk.asks()


async def test_a_new_history_is_adopted_and_replayed() -> None:
    desk = Desk().opened(10)
    desk.streams.resume(["ann"])
    await desk.asks()
    desk.mailbox.answer(3, 4, is_new=True)
    assert (desk.restarted, desk.applied, desk.lost) == (["ann"], [3, 4], [])
    assert (desk.replayed, desk.seqs) == (["ann"], {3, 4})
    assert desk.arrives(5, 4)


async def test_a_new_history_is_replayed_after_its_last_part() -> None:
    """The mailbox has not all that the log has: what it lacks would come behind what is newer."""
    desk = Desk().opened(10)
    desk.streams.resume(["ann"])
    await desk.asks()
    desk.mailbox.answer(3, 4, head=6, more=True, is_new=True)
    assert (desk.restarted, desk.replayed, desk.seqs) == (["ann"], [], {3, 4, 6})
    await desk.asks(2)
    desk.mailbox.answer(5, 6)
    assert (desk.applied, desk.replayed) == ([3, 4, 5, 6], ["ann"])


async def test_a_new_history_without_messages_begins_at_zero() -> None:
    desk = Desk().opened(10)
    desk.streams.resume(["ann"])
    await desk.asks()
    desk.mailbox.answer(head=0, is_new=True)
    assert desk.restarted == ["ann"]
    assert desk.arrives(7, 0)


async def test_what_an_answer_has_that_was_applied_is_passed_over() -> None:
    desk = Desk().opened(10)
    desk.streams.resume(["ann"])
    await desk.asks()
    desk.mailbox.answer(9, 10, 11)
    assert desk.applied == [11]


async def test_a_message_that_cannot_be_sent_costs_none_of_those_behind_it() -> None:
    desk = Desk().opened(10)
    desk.streams.resume(["ann"])
    await desk.asks()
    desk.bad = 12
    with pytest.raises(ValueError, match="a defect"):
        desk.mailbox.answer(11, 12, 13)
    await desk.asks(2)
    assert desk.mailbox.asked[1] == ("ann", 12)
    desk.mailbox.answer(13)
    assert desk.applied == [11, 13]
    assert desk.arrives(14, 13)


# A mailbox that is away


async def test_a_mailbox_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "RETRY_S", 0.001)
    desk = Desk().opened(10)
    desk.mailbox.failures = 3
    desk.streams.resume(["ann"])
    await desk.asks(4)
    assert {cursor for _, cursor in desk.mailbox.asked} == {10}
    desk.mailbox.answers.pop()(Missed(11, [message(11)]))
    assert desk.applied == [11]
    assert desk.arrives(12, 11)


async def test_a_user_who_leaves_while_the_mailbox_is_away_is_asked_for_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams_module, "RETRY_S", 0.01)
    desk = Desk().opened(10)
    desk.mailbox.failures = 1
    desk.streams.resume(["ann"])
    await eventually(lambda: desk.mailbox.failures == 0)
    desk.streams.close("ann")
    await desk.asks(1)


async def test_users_are_asked_for_in_slices_with_pauses_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_module, "SLICE", 3)
    desk = Desk()
    users = [f"u{n}" for n in range(7)]
    for user in users:
        desk.streams.open(user)
        desk.streams.read(user, 1)
    desk.streams.resume(users)
    await eventually(lambda: desk.mailbox.asked)
    assert len(desk.mailbox.asked) == 3
    await desk.asks(7)
    assert desk.mailbox.asked == [(user, 1) for user in users]
