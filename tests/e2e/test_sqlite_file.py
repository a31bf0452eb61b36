"""The SQLite file is deleted, replaced or put back while the service runs."""

import os
from pathlib import Path

import httpx

from tests.client import listening
from tests.e2e.storage import PUSH, STORE, SqliteStorage, history, http_client, next_message, store, token
from tests.service import running_server


async def assert_unavailable_and_says_why(http: httpx.AsyncClient, why: str) -> None:
    for answer in (
        await http.get("/readyz"),
        await http.post(f"{STORE}/test-here", content="lost"),
        await http.get("/api/notify/history", headers=token("test-here")),
        await http.get("/api/notify/unread_count", headers=token("test-here")),
    ):
        assert answer.status_code == 503, answer.text
        assert why in answer.json()["detail"]
        assert int(answer.headers["Retry-After"]) > 0


async def test_missing_file_is_503_and_not_ready_until_it_is_back_and_nothing_accepted_is_lost(tmp_path: Path) -> None:
    storage, aside = SqliteStorage(tmp_path / "notify.db"), tmp_path / "aside.db"
    with running_server(**storage.env) as server:
        async with http_client(server.url) as http:
            before = await store(http, "test-here")
            os.rename(storage.path, aside)
            await assert_unavailable_and_says_why(http, "missing")
            assert (await http.get("/healthz")).status_code == 200
            answer = await http.post(f"{PUSH}/push_all_obj/test-absent", content="transient")
            assert answer.status_code == 200, answer.text
            async with listening(server.websocket_url, "test-absent") as client:
                assert (await next_message(client))[0]["data"] == "transient"
            os.mknod(storage.path)
            await assert_unavailable_and_says_why(http, "replaced")
            os.rename(aside, storage.path)
            assert (await http.get("/readyz")).status_code == 200
            after = await store(http, "test-here")
        assert "restart the service" in server.log()
        server.stop()
        server.start()
        server.wait_until_ready()
        async with http_client(server.url) as http:
            stored = [item["id"] for item in (await history(http, "test-here"))["items"]]
    assert set(stored) == {before, after}
