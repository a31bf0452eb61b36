"""What the journal adds up to: every promise that was broken, session by session."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.chaos.journal import LEFT, Journal, Push, Reception, Session

GRACE_S = 30.0  # a session that ends within this time may leave what it missed to the next session


@dataclass(slots=True)
class Account:
    """Counts of a scenario. Lists hold one line for each broken promise."""

    accepted: int = 0
    received: int = 0
    repeated: int = 0
    unknown: int = 0
    marked: int = 0
    resume_s: float = 0.0
    slowest_push_s: float = 0.0
    slowest_return_s: float = 0.0
    unheard: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    missed_new: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unmarked: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    acked_resent: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    wrong_status: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    closes: list[str] = field(default_factory=list)
    bad_answers: list[str] = field(default_factory=list)

    @property
    def outstanding(self) -> int:
        """Receptions that may still come."""
        return len(self.missed) + len(self.missed_new) + len(self.lost)


class Accountant:
    """Indexes of one journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._sessions: dict[str, list[Session]] = defaultdict(list)
        self._first_ack_s: dict[str, float] = {}
        self._received = {
            id(session): {item.tag for item in session.received if not item.dropped} for session in journal.sessions
        }
        self._anywhere = set[str]().union(*self._received.values())
        for session in journal.sessions:
            self._sessions[session.user].append(session)
        for acks in journal.acks.values():
            for message_id, at_s in acks.sent_s.items():
                self._first_ack_s[message_id] = min(at_s, self._first_ack_s.get(message_id, at_s))

    def account(self) -> Account:
        journal = self._journal
        accepted = [push for push in journal.pushes.values() if push.outcome == "accepted"]
        result = Account(
            accepted=len(accepted),
            received=sum(len(tags) for tags in self._received.values()),
            repeated=sum(push.attempts - 1 for push in journal.pushes.values()),
            unknown=sum(push.outcome == "unknown" for push in journal.pushes.values()),
            resume_s=max(0.0, journal.last_trouble_s - journal.fault_ended_s),
            slowest_push_s=max((push.accepted_s - push.began_s for push in accepted), default=0.0),
            slowest_return_s=max(self._returns_s(), default=0.0),
            wrong_status=journal.wrong_statuses,
            closes=journal.unexpected_closes,
            bad_answers=journal.bad_answers,
            lost=[f"not in the history: {tag}" for tag in journal.not_in_history],
        )
        for push in accepted:
            self._check_arrival(push, result)
        for push in journal.pushes.values():
            if push.outcome == "given up":
                result.given_up.append(f"{_name(push)}: {push.attempts} attempts, at last {push.last_problem}")
        self._check_ids(result)
        for session in journal.sessions:
            self._check_order(session, result)
            self._check_repeats(session, result)
        self._check_clients(result)
        return result

    # Arrival

    def _check_arrival(self, push: Push, result: Account) -> None:
        if push.receiver is None:
            for session in self._journal.sessions:
                if self._misses_broadcast(push, session):
                    result.unheard.append(self._line(push, session))
            return
        sessions = self._sessions[push.receiver]
        if push.tag not in self._anywhere and any(session.subscribed_s is not None for session in sessions):
            result.lost.append(self._line(push, None))
        acked_s = min((self._first_ack_s[key] for key in push.ids if key in self._first_ack_s), default=None)
        for session in sessions:
            if session.subscribed_s is None or push.tag in self._received[id(session)]:
                continue
            if not session.is_open_until(max(push.accepted_s, session.subscribed_s) + GRACE_S):
                continue
            if push.began_s > session.subscribed_s:
                result.missed.append(self._line(push, session))
            elif acked_s is None or acked_s > session.subscribed_s:
                result.missed_new.append(self._line(push, session))

    def _misses_broadcast(self, push: Push, session: Session) -> bool:
        return (
            session.subscribed_s is not None
            and session.subscribed_s < push.began_s
            and push.tag not in self._received[id(session)]
            and session.is_open_until(push.accepted_s + GRACE_S)
            and not push.began_s <= self._journal.fault_began_s <= push.accepted_s  # it was on its way
            and not any(name.startswith(f"n{session.node}") for name in push.unreached)
        )

    # Once

    def _check_ids(self, result: Account) -> None:
        """A push that runs twice has two ids; with an id of its own, it comes twice unmarked (`_check_repeats`)."""
        ids: dict[str, set[str]] = defaultdict(set)
        for session in self._journal.sessions:
            for item in session.received:
                ids[item.tag].add(item.message_id)
        for tag, push in self._journal.pushes.items():
            found = ids[tag] | push.ids
            if len(found) > 1:
                result.twice.append(f"{_name(push)}: {push.attempts} attempts, ids {', '.join(sorted(found))}")
        result.twice += [f"twice in the history: {tag}" for tag in self._journal.twice_in_history]

    # Order

    def _check_order(self, session: Session, result: Account) -> None:
        """Among first receptions of what was answered `sent`, nothing comes after what it precedes."""
        latest: dict[int, Push] = {}
        seen: set[str] = set()
        for item in session.received:
            push = self._journal.pushes.get(item.tag)
            if push is None or item.tag in seen:
                continue
            seen.add(item.tag)
            if push.outcome != "accepted" or push.status != "sent":
                continue
            later = latest.setdefault(push.publisher, push)
            if push.accepted < later.begun:
                result.disordered.append(f"{self._copy(item, session)} after {_name(later)}")
            elif push.begun > later.begun:
                latest[push.publisher] = push

    # Repeats

    def _check_repeats(self, session: Session, result: Account) -> None:
        seen: set[str] = set()
        for item in session.received:
            if item.message_id in seen and not item.redelivered:
                result.unmarked.append(f"{self._copy(item, session)}, same session")
                push = self._journal.pushes.get(item.tag)
                if push is not None and push.attempts > 1:
                    result.twice.append(f"{_name(push)}: a second unmarked copy after {push.attempts} attempts")
            elif item.message_id in seen:
                result.marked += 1
            seen.add(item.message_id)

    def _check_clients(self, result: Account) -> None:
        """A client object is one device: its sessions follow one another."""
        by_client: dict[str, list[Session]] = defaultdict(list)
        for session in self._journal.sessions:
            by_client[session.client].append(session)
        for client, sessions in by_client.items():
            confirmed_s = self._journal.acks[client].confirmed_s
            earlier: set[str] = set()
            for session in sessions:
                self._check_against(earlier, session, result)
                for item in session.received:
                    acked_s = confirmed_s.get(item.message_id)
                    if acked_s is not None and item.at_s > acked_s:
                        after = f"{item.at_s - acked_s:.2f}s after its confirmed ack"
                        result.acked_resent.append(f"{self._copy(item, session)}, {after}")
                earlier |= {item.message_id for item in session.received}

    def _check_against(self, earlier: set[str], session: Session, result: Account) -> None:
        """Count what comes again to a later session of the client."""
        seen: set[str] = set()
        for item in session.received:
            if item.message_id in seen or item.message_id not in earlier:
                continue
            seen.add(item.message_id)
            if item.redelivered:
                result.marked += 1
            else:
                kind = "device" if session.has_device else "client without client-id"
                result.unmarked.append(f"{self._copy(item, session)}, later session of the {kind}")

    def _returns_s(self) -> Iterable[float]:
        """Yield how long clients that did not leave by themselves were without a session that had subscribed."""
        ended_s: dict[str, float] = {}
        for session in self._journal.sessions:
            if session.subscribed_s is None:
                continue
            if session.client in ended_s:
                yield session.subscribed_s - ended_s.pop(session.client)
            if session.ended_s is not None and session.code != LEFT:
                ended_s[session.client] = session.ended_s

    # Words

    def _line(self, push: Push, session: Session | None) -> str:
        accepted = f"{_name(push)} answered {push.status} {self._journal.since_fault(push.accepted_s)}"
        if session is None:
            return accepted
        subscribed = self._journal.since_fault(session.subscribed_s)
        ended = (
            "open"
            if session.ended_s is None
            else f"ended {self._journal.since_fault(session.ended_s)} with {session.code}"
        )
        return f"{accepted}, {session.client} on n{session.node} subscribed {subscribed}, {ended}"

    def _copy(self, item: Reception, session: Session) -> str:
        push = self._journal.pushes.get(item.tag)
        name = item.tag if push is None else _name(push)
        return f"{name} at {session.client} on n{session.node} {self._journal.since_fault(item.at_s)}"


def _name(push: Push) -> str:
    return f"{push.tag} ({push.kind}{', persisted' if push.persisted else ''} to {push.receiver})"


def examples(lines: Sequence[str], limit: int) -> Iterable[str]:
    yield from lines[:limit]
    if len(lines) > limit:
        yield f"… and {len(lines) - limit} more"
