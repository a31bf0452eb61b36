"""Observers of an application, from `create_app` to a push and its acknowledgement."""

from pathlib import Path

import httpx

from app.delivery.observer import Accepted, Event
from app.main import create_app
from app.settings import Settings


async def test_each_kind_of_push_is_told_once(tmp_path: Path) -> None:
    events: list[Event] = []
    app = create_app(Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/notify.db"), observers=[events.append])
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service/vh-stomp-wsend")
    async with app.router.lifespan_context(app), http:
        for _ in range(2):  # the second time it is a repeat
            await http.post("/push_msg", json={"receiver": "ann", "type": "STRING_MSG", "data": 1, "id": "m1"})
        await http.post("/cluster/notify/ann", content="kept")
        await http.post("/push_all_obj", content="to all")
        await http.post("/push_topic/news", content="to some")

    accepted = [event for event in events if isinstance(event, Accepted)]
    assert accepted == events
    assert [(event.receiver, event.destination, event.persisted, event.status) for event in accepted] == [
        ("ann", "/user/queue/msg", False, "stored"),
        ("ann", "/user/queue/msg", True, "stored"),
        (None, "/user/queue/msg", False, "sent"),
        (None, "/topic/news", False, "sent"),
    ]
    assert accepted[0].message_id == "m1"
