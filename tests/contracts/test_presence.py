"""What every presence does."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from app.errors import SessionLimit
from app.gateway.presence import Presence
from tests.contracts.implementations import PRESENCES

LIMIT = 3
PATIENCE_S = 5


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


async def test_who_is_refused_is_told_the_limit(presences: Sequence[Presence]) -> None:
    for n in range(LIMIT):
        await joins(presences[0], f"s{n}")
    with pytest.raises(SessionLimit, match="ann has 3 sessions, the limit"):
        await presences[0].join("ann", "more", LIMIT)


async def test_users_are_counted_apart(presences: Sequence[Presence]) -> None:
    for n in range(LIMIT):
        assert await joins(presences[0], f"s{n}")
    assert await joins(presences[0], "other", "bob")


async def test_who_leaves_makes_room_at_once_on_his_node_and_soon_on_all(presences: Sequence[Presence]) -> None:
    here, there = presences
    for n in range(LIMIT):
        await joins(here, f"s{n}")
    here.leave("ann", "s0")
    async with asyncio.timeout(PATIENCE_S):
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
