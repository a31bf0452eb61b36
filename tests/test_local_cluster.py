"""`make cluster`: a Valkey and three nodes in one command."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from tests.client import listening

ROOT = Path(__file__).parent.parent
START_S = 30
NODES = 3


class Cluster:
    def __init__(self, directory: Path) -> None:
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, ROOT / "deploy" / "local_cluster.py"],
                env={"PORT": "0", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self) -> str:
        return self._log.read_text()

    def urls(self) -> Sequence[str]:
        """Once all nodes are there."""
        deadline = time.monotonic() + START_S
        while True:
            urls = re.findall(r"listening on (http://127\.0\.0\.1:\d+)", self.log())
            if len(urls) == NODES and self.log().count("Application startup complete") == NODES:
                return urls
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.process.terminate()
        cluster.process.wait(60)


async def test_one_command_makes_a_cluster_to_try(cluster: Cluster) -> None:
    first, _, third = cluster.urls()
    async with httpx.AsyncClient() as http:
        for url in cluster.urls():
            assert (await http.get(f"{url}/stomp-websocket-sockjs.html")).status_code == 200
            assert (await http.get(f"{url}/readyz")).json()["status"] == "ready"
        async with listening(third.replace("http", "ws") + "/stomp-ws", "test1") as client:
            answer = (await http.post(f"{first}/vh-stomp-wsend/push_all_obj/test1", content="hello")).json()
            assert answer["status"] == "sent"
            assert (await client.expect("MESSAGE")).headers["message-id"] == answer["id"]
        stored = (await http.post(f"{first}/vh-stomp-wsend/cluster/notify/test1", content="stored")).json()["id"]
        history = (await http.get(f"{third}/api/notify/history", headers={"Authorization": "test1"})).json()
        assert [item["id"] for item in history["items"]] == [stored]

    cluster.process.send_signal(signal.SIGINT)

    assert cluster.process.wait(30) == 0
    assert "Traceback" not in cluster.log()
    assert "Redis is away" not in cluster.log()
