"""The console page in a browser: a tab with it, and what a developer does there."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import httpx
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, WebSocket, expect, sync_playwright

from tests.interop.tools import find_program

PAGE = "/stomp-websocket-sockjs.html"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
OFFLINE = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CURL_TIMEOUT_S = 20


class Site(Protocol):
    """Where the page is: a server, or what stands before one."""

    @property
    def url(self) -> str: ...

    @property
    def websocket_url(self) -> str: ...

    @property
    def port(self) -> int: ...


@contextmanager
def running_browser() -> Iterator[Browser]:
    path = find_program(*CHROMIUM)
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=[*OFFLINE, *root])
        yield browser
        browser.close()


class Console:
    """One tab with the page, and all that must not happen on it."""

    def __init__(self, page: Page, server: Site) -> None:
        self.page = page
        self.server = server
        self.problems: list[str] = []
        self.hosts: set[str] = set()
        self.connections = 0
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        page.on("websocket", self._count)
        page.goto(server.url + PAGE)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _count(self, websocket: WebSocket) -> None:
        self.connections += 1
        self.hosts.add(websocket.url.split("/")[2])

    def at(self, name: str) -> Locator:
        return self.page.get_by_test_id(name)

    def connect(self, token: str) -> str:
        """The session."""
        self.at("token").fill(token)
        self.at("connect").click()
        expect(self.at("status")).to_have_text("connected")
        expect(self.at("session")).to_have_text(re.compile(r"^[0-9a-f]{16}$"))
        return self.at("session").inner_text()

    def push(self, user: str, text: str, *, store: bool = False) -> str:
        """By the form; the id from the answer, which the page shows."""
        self.at("push-user-receiver").fill(user)
        self.at("push-user-persist").set_checked(store)
        return self._push("user", text)

    def broadcast(self, text: str) -> str:
        return self._push("broadcast", text)

    def push_topic(self, topic: str, text: str) -> str:
        self.at("push-topic-name").fill(topic)
        return self._push("topic", text)

    def _push(self, kind: str, text: str) -> str:
        self.at(f"push-{kind}-body").fill(text)
        with self.page.expect_response(re.compile("/vh-stomp-wsend/")) as response:
            self.at(f"push-{kind}-send").click()
        message_id: str = response.value.json()["id"]
        expect(self.at("push-result")).to_contain_text(message_id)
        return message_id

    def row(self, message_id: str) -> Locator:
        return self.at("messages").locator(_row(message_id))

    def status(self, message_id: str) -> str:
        answer = httpx.get(f"{self.server.url}/vh-stomp-wsend/push_status/{message_id}").json()
        status: str = answer["status"]
        return status

    # The history

    def history_row(self, message_id: str) -> Locator:
        return self.at("history").locator(_row(message_id))

    def has_history(self, *ids: str, unread: int) -> None:
        """Waits until it shows these, newest first, and this number."""
        expect(self.at("history").locator("li code")).to_have_text(ids)
        expect(self.at("unread")).to_have_text(str(unread))

    def run_curl(self, name: str) -> Any:
        """The answer to a command of the page, run as if it had been copied to a terminal."""
        shell, _ = find_program("sh"), find_program("curl")
        command = [shell, "-c", self.at(name).inner_text()]
        env = {"PATH": os.environ["PATH"], "NO_PROXY": "*"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=CURL_TIMEOUT_S, check=True)
        return json.loads(done.stdout)


def _row(message_id: str) -> str:
    return f'[data-message-id="{message_id}"]'


@contextmanager
def open_console(browser: Browser, server: Site) -> Iterator[Console]:
    """In a browser context of its own, as on another device. Fails at the end if the page had a problem."""
    with browser.new_context() as context:
        console = Console(context.new_page(), server)
        yield console
    assert console.problems == []
    assert console.hosts == {f"127.0.0.1:{server.port}"}
