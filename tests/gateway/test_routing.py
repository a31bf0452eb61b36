import asyncio
import logging

import pytest

from app.gateway.core_routes import core_routes
from app.gateway.rate import TokenBucket
from app.gateway.routing import AppMessage, DestinationRoutes
from app.timing.tasks import TaskOwner


def handler(_: AppMessage) -> None: ...


@pytest.mark.parametrize("destination", ["/topic/a", "app/a", "/user/a", "", "/application/a"])
def test_handler_outside_app_is_refused(destination: str) -> None:
    with pytest.raises(ValueError, match="/app/"):
        DestinationRoutes().message(destination)


def test_destination_has_one_handler() -> None:
    routes = DestinationRoutes()
    routes.message("/app/a")(handler)

    with pytest.raises(ValueError, match="/app/a has a handler"):
        routes.message("/app/a")
    assert routes.handler("/app/a") is handler
    assert routes.handler("/app/a/") is None


def test_applications_cannot_take_over_the_destinations_of_the_service() -> None:
    own, all_routes = DestinationRoutes(), DestinationRoutes()
    own.message("/app/sendMessage")(handler)
    all_routes.include(core_routes)

    with pytest.raises(ValueError, match="/app/sendMessage has a handler"):
        all_routes.include(own)


def test_acknowledgements_have_no_handler() -> None:
    own, all_routes = DestinationRoutes(), DestinationRoutes()
    own.message("/app/ack")(handler)

    with pytest.raises(ValueError, match="/app/ack is where clients acknowledge"):
        all_routes.include(own)


def test_including_leaves_the_other_as_it_was() -> None:
    routes = DestinationRoutes()
    routes.include(core_routes)
    routes.message("/app/mine")(handler)

    assert core_routes.handler("/app/mine") is None
    assert routes.handler("/app/sendMessage") is core_routes.handler("/app/sendMessage") is not None


def test_bucket_starts_full_and_fills_with_time() -> None:
    bucket = TokenBucket(rate=2, burst=3, now_s=100)

    assert [bucket.take(100) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(100.4), bucket.take(100.6), bucket.take(100.6)] == [False, True, False]
    assert [bucket.take(1000) for _ in range(4)] == [True, True, True, False]


async def test_failed_task_is_logged_once_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("boom")

    owner = TaskOwner()
    owner.start(fail(), "replay to session 1")
    await asyncio.sleep(0.01)

    assert len(owner) == 0
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "replay to session 1 failed")


async def test_tasks_end_with_their_owner(caplog: pytest.LogCaptureFixture) -> None:
    ended = []

    async def wait(number: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    owner = TaskOwner()
    owner.start(wait(1), "one")
    await asyncio.sleep(0)
    owner.start(wait(2), "two")
    await owner.aclose()
    await owner.aclose()

    assert sorted(ended) == [1, 2]
    assert len(owner) == 0
    assert caplog.records == []
