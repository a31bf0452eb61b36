"""A condition that coroutines wait for."""

import asyncio

from app.timing.flag import Flag


async def test_flag_that_is_set_is_not_waited_for() -> None:
    flag = Flag(True)
    await flag.wait()

    assert flag.is_set()


async def test_all_who_wait_go_on_though_the_flag_is_cleared_at_once() -> None:
    flag = Flag()
    waiting = [asyncio.create_task(flag.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    flag.set()
    flag.clear()
    late = asyncio.create_task(flag.wait())
    await asyncio.gather(*waiting)

    assert not flag.is_set()
    assert not late.done()
    flag.set()
    await late


async def test_waiter_that_is_cancelled_takes_nothing_from_the_others() -> None:
    flag = Flag()
    first, second = asyncio.create_task(flag.wait()), asyncio.create_task(flag.wait())
    await asyncio.sleep(0)
    first.cancel()
    flag.set()
    await second

    assert first.cancelled() or not first.done()
