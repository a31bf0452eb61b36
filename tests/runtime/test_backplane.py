"""What nodes share: in memory, or in Redis, as the settings say."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.cluster.control.memory import MemoryControl
from app.cluster.control.redis import RedisControl
from app.cluster.keys import NODES, PENDING, inbox_key, sessions_key
from app.cluster.ledger.memory import MemoryLedger
from app.cluster.ledger.redis import RedisLedger
from app.cluster.mailbox.memory import MemoryMailbox
from app.cluster.mailbox.redis import RedisMailbox
from app.cluster.presence.memory import MemoryPresence
from app.cluster.presence.redis import RedisPresence
from app.cluster.relay.memory import MemoryRelay
from app.cluster.relay.redis import RedisRelay
from app.delivery.log import Record, Trace
from app.errors import ConfigurationError
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from app.runtime import backplane as backplane_module
from app.runtime.backplane import Backplane, build_backplane
from app.timing.clock import SystemClock
from tests.api.service import settings
from tests.nodes import running
from tests.proxy import Proxy, running_proxy
from tests.valkey import fresh_database, valkey

URL = "redis://127.0.0.1:1"


@asynccontextmanager
async def open_backplane(url: str, **values: object) -> AsyncIterator[Backplane]:
    backplane = build_backplane(settings(redis_url=url, **values), SystemClock())
    async with running(*(job for _, job in backplane.jobs)):
        await backplane.wait_until_up()
        yield backplane
        await backplane.close()


@asynccontextmanager
async def proxied_backplane() -> AsyncIterator[tuple[Proxy, Backplane]]:
    with fresh_database():
        async with (
            running_proxy(valkey().port) as proxy,
            open_backplane(f"redis://127.0.0.1:{proxy.port}") as backplane,
        ):
            yield proxy, backplane


def message() -> Envelope:
    now_ms = time.time_ns() // 1_000_000
    content = NotifyMessage(id="m1", type="STRING_MSG", receiver="ann", data="x", viewed=False, created=now_ms)
    return Envelope(message=content, encoder=MessageEncoder(content), expires_ms=now_ms + 60_000)


def record(envelope: Envelope) -> Record:
    trace = Trace(id="m1", receiver="ann", type="STRING_MSG", created_ms=5, expires_ms=9)
    return Record(trace=trace, session_id="s1", envelope=envelope, attempt=1, sent_ms=5, due_s=9.0, expires_s=99.0)


async def test_without_redis_everything_is_in_memory_and_nothing_has_to_run() -> None:
    backplane = build_backplane(settings(node_name="web"), SystemClock())
    assert isinstance(backplane.mailbox, MemoryMailbox)
    assert isinstance(backplane.ledger, MemoryLedger)
    assert isinstance(backplane.relay, MemoryRelay)
    assert isinstance(backplane.presence, MemoryPresence)
    assert isinstance(backplane.control, MemoryControl)
    assert (backplane.jobs, backplane.writers, backplane.cluster) == ((), (), None)
    assert backplane.node.startswith("web-")
    await backplane.wait_until_up()
    await backplane.close()


def test_with_redis_everything_is_shared() -> None:
    backplane = build_backplane(settings(redis_url=URL), SystemClock())
    assert isinstance(backplane.mailbox, RedisMailbox)
    assert type(backplane.ledger) is RedisLedger
    assert isinstance(backplane.relay, RedisRelay)
    assert isinstance(backplane.presence, RedisPresence)
    assert isinstance(backplane.control, RedisControl)
    assert [name for name, _ in backplane.jobs] == ["cluster", "RedisMailbox", "RedisLedger"]


def test_the_ledger_may_stay_in_memory() -> None:
    backplane = build_backplane(settings(redis_url=URL, enable_local_ack=True), SystemClock())
    assert type(backplane.ledger) is MemoryLedger
    assert [name for name, _ in backplane.jobs] == ["cluster", "RedisMailbox"]


def test_processes_of_the_same_settings_are_different_nodes() -> None:
    names = {build_backplane(settings(redis_url=URL, node_name="web"), SystemClock()).node for _ in range(2)}
    assert len(names) == 2


def test_an_address_that_cannot_be_read_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_backplane(settings(redis_url="redis://:sEcret@h:port"), SystemClock())
    assert "sEcret" not in str(caught.value)


async def test_what_waits_is_written_at_the_end() -> None:
    with fresh_database() as url:
        async with open_backplane(url) as backplane:
            envelope = message()
            await backplane.mailbox.put(envelope)
            await backplane.presence.join("ann", "s1", 1)
            backplane.mailbox.acknowledge("ann", "m1")
            backplane.presence.leave("ann", "s1")
            opened = record(envelope)
            backplane.ledger.open(opened)
            assert valkey().command("EXISTS", inbox_key("ann")) == 1
        assert valkey().command("HLEN", PENDING) == 1, "a session that is open still"
        assert valkey().command("EXISTS", inbox_key("ann"), sessions_key("ann"), NODES) == 0


@pytest.mark.parametrize("how", ["gone", "hung"])
async def test_without_redis_the_end_is_not_put_off(
    how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backplane_module, "LIFECYCLE_TIMEOUT_S", 0.1)
    monkeypatch.setattr("app.cluster.node.LIFECYCLE_TIMEOUT_S", 0.1)
    async with proxied_backplane() as (proxy, backplane):
        if how == "gone":
            proxy.refuse()
            proxy.cut()
            await asyncio.sleep(0.05)
        else:
            proxy.stall()
        backplane.mailbox.acknowledge("ann", "m1")
        started_s = time.monotonic()
        await backplane.close()
        assert time.monotonic() - started_s < 1
        proxy.flow()
    if how == "gone":
        assert "1 changes were not written" in caplog.text


async def test_a_service_starts_without_redis_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cluster.node.LIFECYCLE_TIMEOUT_S", 0.05)
    async with open_backplane(URL) as backplane:
        assert not backplane.relay.is_up
