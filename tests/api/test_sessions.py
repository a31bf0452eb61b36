import pytest

from tests.api.service import Service, problem, service, settle


async def test_sessions_are_listed_with_what_operators_ask_for(dev: Service) -> None:
    dev.listener("test1", "/user/queue/msg", "/topic/a")
    dev.listener("test2")
    await settle()
    await dev.push("/push_all_obj/test1")

    items = (await dev.http.get("/api/sessions")).json()["items"]

    assert [item["user"] for item in items] == ["test1", "test2"]
    (first,) = (await dev.http.get("/api/sessions/test1")).json()["items"]
    assert first == items[0]
    assert first["connected_at"] > 0
    assert {name: first[name] for name in ("user", "transport", "version", "remote", "subscriptions")} == {
        "user": "test1",
        "transport": "fake",
        "version": "1.2",
        "remote": "192.0.2.1:4000",
        "subscriptions": ["/topic/a", "/user/queue/msg"],
    }
    assert first["unacknowledged"] == 1


@pytest.mark.parametrize("user", ["nobody", "😀", "a%20b", "%252E"])
async def test_user_who_is_away_has_no_sessions(user: str, dev: Service) -> None:
    answer = await dev.http.get(f"/api/sessions/{user}")

    assert (answer.status_code, answer.json()) == (200, {"items": [], "unanswered": []})


async def test_kicked_session_is_told_to_stay_away_and_its_messages_wait(dev: Service) -> None:
    listener = dev.listener()
    await settle()
    message_id = (await dev.push("/push_all_obj/test1")).json()["id"]
    (session,) = (await dev.http.get("/api/sessions")).json()["items"]

    answer = await dev.http.delete(f"/api/sessions/{session['session']}")

    assert (answer.status_code, answer.content) == (204, b"")
    assert listener.reason is not None
    assert (listener.reason.code, listener.reason.may_reconnect) == (4503, False)
    problem(await dev.http.delete(f"/api/sessions/{session['session']}"), 404, "not-found")
    again = dev.listener()
    await settle()
    assert [frame.headers["message-id"] for frame in again.frames() if frame.command == "MESSAGE"] == [message_id]


@pytest.mark.parametrize("session_id", ["nope", "%00", "a" * 5000, "a%2Fb"])
async def test_session_that_is_not_there_is_not_found(session_id: str, dev: Service) -> None:
    problem(await dev.http.delete(f"/api/sessions/{session_id}"), 404)


async def test_readiness_counts_sessions_and_forgets_them(dev: Service) -> None:
    ready = (await dev.http.get("/readyz")).json()
    assert (ready.pop("node"), ready) == (dev.runtime.backplane.node, {"status": "ready", "sessions": 0})
    dev.listener()
    dev.listener("test2")
    await settle()
    assert (await dev.http.get("/readyz")).json()["sessions"] == 2

    for connection in dev.runtime.gateway:
        connection.closed()
    assert (await dev.http.get("/readyz")).json()["sessions"] == 0
    assert len(dev.runtime.gateway) == 0


async def test_health_says_which_version_runs(dev: Service) -> None:
    body = (await dev.http.get("/healthz")).json()

    assert body == {"status": "ok", "version": dev.app.version}


async def test_two_applications_in_one_process_do_not_disturb_each_other() -> None:
    async with service(max_sessions_per_user=1) as one, service() as two:
        first, second = one.listener("test1"), two.listener("test1")
        await settle()
        await one.push("/push_all_obj", "x")

        assert (first.reason, second.reason) == (None, None)
        assert len(first.frames()) == 2
        assert len(second.frames()) == 1
        assert one.runtime.hub is not two.runtime.hub
        third = one.listener("test1")
        await settle()
        assert third.reason is not None
    assert first.reason is not None
    assert first.reason.code == 1012
