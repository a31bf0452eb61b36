"""The harness itself: what the tests of the cluster mode believe of it."""

import asyncio
import os
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from redis import RedisError

from tests.proxy import Proxy, running_proxy
from tests.valkey import Valkey, fresh_database, running_valkey, valkey
from tests.valkey_cluster import running_cluster, running_sentinels

SILENCE_S = 0.05


@pytest.fixture
def server() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


def test_what_was_answered_to_survives_stop_and_kill(server: Valkey) -> None:
    for end in (server.stop, server.kill):
        server.client().incr("starts")
        end()
        with pytest.raises(RedisError):
            server.client().ping()
        server.start()
    assert server.client().get("starts") == "2"


def test_options_are_settings_of_one_word_or_several() -> None:
    limit = "pubsub 1048576 0 0"
    with running_valkey(maxmemory="64mb", client_output_buffer_limit=limit) as server:
        settings = server.client().config_get("maxmemory", "client-output-buffer-limit", "save")
    assert settings["maxmemory"] == str(64 << 20)
    assert limit in str(settings["client-output-buffer-limit"])
    assert settings["save"] == ""


def test_a_frozen_server_takes_connections_and_answers_nothing(server: Valkey) -> None:
    server.freeze()
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.2) as connection:
        connection.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(100)
        server.thaw()
        connection.settimeout(5)
        assert connection.recv(100) == b"+PONG\r\n"


def test_a_replica_has_the_data_and_can_take_over(server: Valkey) -> None:
    server.client().set("name", "value")
    with running_valkey() as replica:
        replica.replicate(server)
        assert replica.client().get("name") == "value"
        server.kill()
        replica.promote()
        assert replica.client().set("name", "other")


def test_nothing_is_left_of_a_server_whose_test_fails() -> None:
    with suppress(ZeroDivisionError), running_valkey() as server:
        pid = server.client().info("server")["process_id"]
        directory = Path(str(server.client().config_get("dir")["dir"]))
        assert directory.exists()
        server.freeze()
        raise ZeroDivisionError
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_port_of_a_server_that_is_down_is_kept_for_it(server: Valkey) -> None:
    server.kill()
    with pytest.raises(OSError, match="in use"), socket.socket() as other:
        other.bind(("127.0.0.1", server.port))


def test_a_fresh_database_is_empty_and_on_the_server_of_the_run() -> None:
    with fresh_database() as url:
        valkey().client().set("name", "value")
    with fresh_database() as again:
        assert valkey().client().dbsize() == 0
        assert url == again == valkey().url


def test_a_cluster_shares_out_the_keys_and_replaces_a_killed_owner() -> None:
    with running_cluster(replicas=1) as cluster:
        primaries = cluster.nodes[:3]
        assert {cluster.owner_of(key) for key in "abcdefgh"} == set(primaries)
        owner = cluster.owner_of("a")
        owner.kill()
        cluster.wait_until_ok()
        assert cluster.owner_of("a") is cluster.nodes[3 + primaries.index(owner)]
        assert cluster.owner_of("a").client().set("a", "1")


def test_sentinels_replace_a_killed_primary() -> None:
    with running_sentinels() as setup:
        assert setup.current_primary_port() == setup.primary.port
        setup.primary.kill()
        setup.wait_until_primary(setup.replica)
        assert setup.current_primary_port() == setup.replica.port
        assert setup.replica.client().set("name", "value")


# The proxy, before a server that sends back what it gets


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with server, running_proxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


async def _echo(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1000):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def _client(proxy: Proxy) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        yield reader, writer
    finally:
        writer.transport.abort()


async def test_bytes_and_the_end_pass_both_ways_and_bytes_are_counted(proxy: Proxy) -> None:
    async with _client(proxy) as (reader, writer):
        writer.write(bytes(100_000))
        writer.write_eof()
        assert await reader.read(-1) == bytes(100_000)
    assert proxy.to_server_bytes == proxy.to_client_bytes == 100_005


async def test_cut_resets_connections_and_new_ones_are_accepted(proxy: Proxy) -> None:
    async with _client(proxy) as (reader, _):
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
    async with _client(proxy):
        assert proxy.connections == 1


async def test_refuse_leaves_connections_alone_until_allow(proxy: Proxy) -> None:
    async with _client(proxy) as (reader, writer):
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        await proxy.allow()
        async with _client(proxy):
            assert proxy.connections == 2


async def test_stall_keeps_bytes_back_until_flow(proxy: Proxy) -> None:
    async with _client(proxy) as (reader, writer):
        proxy.stall()
        writer.write(b"late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), SILENCE_S)
        assert proxy.to_server_bytes == 5
        proxy.flow()
        assert await reader.readexactly(4) == b"late"


async def test_a_stalled_proxy_takes_no_more_than_it_can_keep(proxy: Proxy) -> None:
    async with _client(proxy) as (_, writer):
        proxy.stall()
        writer.write(bytes(16_000_000))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(writer.drain(), 4 * SILENCE_S)


async def test_a_reset_of_the_server_passes_to_the_client(proxy: Proxy) -> None:
    async with running_proxy(proxy.port) as outer, _client(outer) as (reader, _):
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
