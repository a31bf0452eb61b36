"""Overdue sessions: silent for so long that a new session of a user at the limit takes the place of one of them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

ANSWER_S = 1.0  # for a client that promised no heart-beats to answer when it is asked whether it is there
RECHECK_DELAY_S = 1.5


class Verdict(NamedTuple):
    """What was found out about the sessions of a user on some nodes."""

    ended: Sequence[str] = ()
    """Members whose overdue sessions have ended."""
    asked: bool = False
    """Clients have been asked for a sign of life: look again after RECHECK_DELAY_S."""


EndOverdue = Callable[[str, bool], Verdict]
"""Ends the session of a user on this node that has been silent for longest, if that is too long. The second time, after
RECHECK_DELAY_S, no client is asked any more."""


def all_are_alive(user: str, again: bool) -> Verdict:
    return Verdict()


async def check_twice(check: Callable[[bool], Awaitable[Verdict]]) -> Sequence[str]:
    """Return the members whose overdue sessions ended, at once or after their clients had time to answer."""
    verdict = await check(False)
    if verdict.asked and not verdict.ended:
        await asyncio.sleep(RECHECK_DELAY_S)
        verdict = await check(True)
    return verdict.ended
