"""The order and concurrency in which the items of a batch are pushed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from app.errors import ServiceError
from app.messages.names import canonical
from app.messages.receivers import LONGEST_RECEIVER
from app.push.request import PushRequest

BATCH_SLICE = 100  # items that are under way at the same time, or pushed before the loop gets a turn

T = TypeVar("T")

Items = Sequence[PushRequest | ServiceError]


async def run_batch(items: Items, push: Callable[[int], Awaitable[T]], *, waits: bool) -> Sequence[T]:
    """Call `push` with the number of each item and return the results in the order of the items."""
    results: dict[int, T] = {}
    for stored, wave in _waves(items, by_receiver(items)):
        if stored or waits:  # they start in their order, and are committed, accepted and pushed in it
            results.update(zip(wave, await asyncio.gather(*map(push, wave)), strict=True))
        else:
            for number in wave:
                results[number] = await push(number)
            await asyncio.sleep(0)
    return [results[number] for number in range(len(items))]


def by_receiver(items: Items) -> Sequence[int]:
    """Return the numbers of the items, those of one receiver together, so that they travel in one write.

    The order of one receiver's messages stays, and no item passes a broadcast. If an id comes twice, nothing moves: the
    first has to win.
    """
    ids = [item.id for item in items if isinstance(item, PushRequest) and item.id is not None]
    if len(set(ids)) < len(ids):
        return range(len(items))
    order: list[int] = []
    gathered: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        receiver = item.receiver if isinstance(item, PushRequest) else None
        if receiver is not None:
            gathered.setdefault(canonical(receiver[:LONGEST_RECEIVER]), []).append(number)
        else:
            order += [*chain.from_iterable(gathered.values()), number]
            gathered.clear()
    return [*order, *chain.from_iterable(gathered.values())]


def _waves(items: Items, order: Sequence[int]) -> Iterator[tuple[bool, Sequence[int]]]:
    """Yield neighbours that may run concurrently, and whether they are persisted: all or none, and no id twice."""
    wave: list[int] = []
    ids: set[str] = set()
    are_stored = False
    for number in order:
        item = items[number]
        stored, given = (item.persist, item.id) if isinstance(item, PushRequest) else (False, None)
        is_full = len(wave) >= BATCH_SLICE and not stored
        if wave and (is_full or stored is not are_stored or given in ids):
            yield are_stored, wave
            wave, ids = [], set()
        are_stored = stored
        wave.append(number)
        if given is not None:
            ids.add(given)
    if wave:
        yield are_stored, wave
