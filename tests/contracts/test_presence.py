"""The contract of all presences."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from app.errors import SessionLimit
from app.gateway.overdue import Verdict
from app.gateway.presence import Presence
from tests.contracts.implementations import PRESENCES

LIMIT = 3
TIMEOUT_S = 5


@pytest.fixture(params=PRESENCES.values(), ids=[*PRESENCES])
async def presences(request: pytest.FixtureRequest) -> AsyncIterator[Sequence[Presence]]:
    async with request.param(2) as presences:
        yield presences


async def joins(presence: Presence, session_id: str, user: str = "ann") -> bool:
    try:
        await presence.join(user, session_id, LIMIT)
    except SessionLimit:
        return False
    return True


async def test_a_user_has_so_many_sessions_as_the_limit_says_wherever_they_are(presences: Sequence[Presence]) -> None:
    here, there = presences
    assert [await joins(here, "s1"), await joins(there, "s2"), await joins(here, "s3")] == [True] * LIMIT
    assert not await joins(here, "s4")
    assert not await joins(there, "s5")


async def test_the_limit_is_exact_when_many_come_at_once(presences: Sequence[Presence]) -> None:
    came = await asyncio.gather(*(joins(presences[n % 2], f"s{n}") for n in range(20)))
    assert sum(came) == LIMIT


async def test_the_refusal_names_the_limit(presences: Sequence[Presence]) -> None:
    for n in range(LIMIT):
        await joins(presences[0], f"s{n}")
    with pytest.raises(SessionLimit, match="ann has 3 sessions, the limit"):
        await presences[0].join("ann", "more", LIMIT)


async def test_users_are_counted_apart(presences: Sequence[Presence]) -> None:
    for n in range(LIMIT):
        assert await joins(presences[0], f"s{n}")
    assert await joins(presences[0], "other", "bob")


async def test_leaving_makes_room_at_once_on_the_same_node_and_soon_on_all(presences: Sequence[Presence]) -> None:
    here, there = presences
    for n in range(LIMIT):
        await joins(here, f"s{n}")
    here.leave("ann", "s0")
    async with asyncio.timeout(TIMEOUT_S):
        while not await joins(there, "late"):  # noqa: ASYNC110 — the port has no event of it
            await asyncio.sleep(0.002)
    assert not await joins(here, "more")


async def test_leaving_twice_or_without_having_come_is_no_error(presences: Sequence[Presence]) -> None:
    here, _ = presences
    await joins(here, "s1")
    here.leave("ann", "s1")
    here.leave("ann", "s1")
    here.leave("bob", "never")
    await asyncio.sleep(0.05)
    came = [await joins(here, f"t{n}") for n in range(LIMIT + 1)]
    assert came == [True] * LIMIT + [False]


# Devices


async def test_a_device_has_one_session_which_is_the_latest(presences: Sequence[Presence]) -> None:
    """Several sessions of a device count once; the caller learns which of its own to end."""
    here, _ = presences
    assert await here.join("ann", "s1", LIMIT, "phone") is None
    assert await here.join("ann", "s2", LIMIT, "phone") == "s1"
    here.leave("ann", "s1")
    assert await here.join("ann", "s3", LIMIT, "phone") == "s2"
    here.leave("ann", "s2")
    assert [await joins(here, f"t{n}") for n in range(LIMIT)] == [True] * (LIMIT - 1) + [False]


async def test_a_device_comes_back_though_its_user_is_at_the_limit(presences: Sequence[Presence]) -> None:
    here, there = presences
    assert await here.join("ann", "s1", LIMIT, "phone") is None
    assert [await joins(here, f"t{n}") for n in range(LIMIT)] == [True] * (LIMIT - 1) + [False]
    await there.join("ann", "s2", LIMIT, "phone")
    with pytest.raises(SessionLimit):
        await there.join("ann", "s3", LIMIT, "desk")


async def test_a_device_of_another_user_is_another_device(presences: Sequence[Presence]) -> None:
    here, _ = presences
    assert await here.join("ann", "s1", LIMIT, "phone") is None
    assert await here.join("bob", "s2", LIMIT, "phone") is None
    assert await here.join("ann", "s3", LIMIT, "desk") is None
    assert await here.join("bob", "s4", LIMIT, "phone") == "s2"


async def test_a_device_without_a_session_is_removed(presences: Sequence[Presence]) -> None:
    here, _ = presences
    await here.join("ann", "s1", LIMIT, "phone")
    here.leave("ann", "s1")
    await asyncio.sleep(0.05)
    assert await here.join("ann", "s2", LIMIT, "phone") is None


# Overdue sessions


class Judge:
    """Ends the given sessions, one per call; None means that a client has to be asked first."""

    def __init__(self, presence: Presence, *overdue: str | None) -> None:
        self.presence = presence
        self.overdue = list(overdue)
        self.questions: list[tuple[str, bool]] = []
        presence.end_overdue = self

    def __call__(self, user: str, again: bool) -> Verdict:
        self.questions.append((user, again))
        session_id = self.overdue.pop(0) if self.overdue else ""
        if session_id is None:
            return Verdict(asked=True)
        if not session_id:
            return Verdict()
        self.presence.leave(user, session_id)
        return Verdict(ended=[session_id])


async def test_at_the_limit_a_new_session_replaces_an_overdue_one(presences: Sequence[Presence]) -> None:
    here, _ = presences
    judge = Judge(here, "s1")
    for n in range(LIMIT):
        await here.join("ann", f"s{n}", LIMIT)
    assert judge.questions == []
    assert await joins(here, "late")
    assert not await joins(here, "later")
    assert judge.questions == [("ann", False)] * 2


async def test_a_client_that_was_asked_has_time_to_answer(
    presences: Sequence[Presence], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gateway.overdue.RECHECK_DELAY_S", 0.01)
    here, _ = presences
    judge = Judge(here, None, "s0", None, "")
    for n in range(LIMIT):
        await here.join("ann", f"s{n}", LIMIT)
    assert await joins(here, "late")
    assert not await joins(here, "later")
    assert judge.questions == [("ann", False), ("ann", True)] * 2


async def test_an_overdue_session_is_replaced_once(presences: Sequence[Presence]) -> None:
    here, _ = presences
    judge = Judge(here, "s0", "s1")
    for n in range(LIMIT):
        await here.join("ann", f"s{n}", LIMIT)
    came = await asyncio.gather(*(joins(here, f"t{n}") for n in range(10)))
    assert (sum(came), judge.overdue) == (2, [])
