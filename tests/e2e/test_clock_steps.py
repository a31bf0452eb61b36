"""Resends while the wall clock of the service is stepped, by libfaketime, as NTP or a resumed VM does it."""

import re
from pathlib import Path

import pytest

from tests.client import listening
from tests.e2e.backend import Backend, open_backend
from tests.interop.tools import missing
from tests.service import running_server

HOUR_S = 3600
PATIENCE_S = 30.0  # of what takes an hour where the step is not noticed
MIN_RESENDS = 4  # after each step; more than one run of the job, which could be due to the step itself


class WallClock:
    """The wall clock of a process that is started with `env`; its monotonic clock is the real one."""

    def __init__(self, directory: Path) -> None:
        libraries = sorted(Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1"))
        if not libraries:
            missing("libfaketime is not installed")
        self._file = directory / "offset"
        self.set(0)
        self.env = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset_s: int) -> None:
        """Show the real time plus `offset_s` from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}")
        new.replace(self._file)


@pytest.fixture
def wall_clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


async def test_resends_go_on_when_the_wall_clock_is_stepped_by_an_hour(wall_clock: WallClock) -> None:
    settings = {"ACK_CHECK_WAIT_MS": "300", "ACK_RETRY_INTERVAL_MS": "300", "ACK_MESSAGE_TTL_MS": "60000"}
    with running_server(**settings, **wall_clock.env) as server:
        async with open_backend(server) as backend, listening(server.websocket_url, "test1") as client:
            message_id = await backend.push("test1")
            await client.expect("MESSAGE")
            last_attempt = 1
            for offset_s in (0, -HOUR_S, 0, HOUR_S, 0):
                wall_clock.set(offset_s)
                for _ in range(MIN_RESENDS):
                    frame = await client.expect("MESSAGE", PATIENCE_S)
                    assert frame.headers["message-id"] == message_id
                    assert int(frame.headers["attempt"]) == last_attempt + 1
                    last_attempt += 1
                await _delivers(backend, f"test2{offset_s}")
        steps = re.findall(r"WARNING .*the wall clock was stepped by ([+-]\d+)\.", server.log())
    assert [round(int(step) / HOUR_S) for step in steps] == [-1, 1, 1, -1]


async def _delivers(backend: Backend, user: str) -> None:
    """Messages that are pushed after a step arrive, whether their user is there or not, and are acknowledged."""
    ids = [await backend.push(user)]
    async with listening(backend.server.websocket_url, user) as client:
        ids.append(await backend.push(user))
        for message_id in ids:
            frame = await client.expect("MESSAGE", PATIENCE_S)
            while frame.headers["message-id"] != message_id:  # another that is sent again
                frame = await client.expect("MESSAGE", PATIENCE_S)
            await client.ack(message_id)
            await backend.becomes(message_id, "delivered")
