"""Waiting for what comes by itself and does not say when."""

import asyncio
from collections.abc import Callable

PATIENCE_S = 60  # a slow machine is slow, and not red


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 — nothing tells when
            await asyncio.sleep(0.002)
