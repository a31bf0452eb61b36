"""The history panel of the console page: what was stored, and what each device of a user did with it."""

import re
from collections.abc import Iterator, Sequence

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.storage import token
from tests.interop.console import Console, open_console
from tests.service import Server

SOON_MS = 1500
PAGE_SIZE = 20
STATUS_TEXT = re.compile("status of 401")  # the browser itself notes each answer that is an error


@pytest.fixture
def other(browser: Browser, server: Server) -> Iterator[Console]:
    """The page on another device."""
    with open_console(browser, server) as other:
        yield other


def store(server: Server, user: str, count: int) -> list[str]:
    """The ids, newest first. They are stored at once: many have the same time."""
    items = [{"receiver": user, "type": "STRING_MSG", "data": f"{number}", "persist": True} for number in range(count)]
    answer = httpx.post(f"{server.url}/vh-stomp-wsend/push_batch", json=items).json()
    return [result["id"] for result in reversed(answer["results"])]


def stored(server: Server, user: str) -> dict[str, bool]:
    """Ids of what the service has, newest first, and whether each was viewed."""
    answer = httpx.get(f"{server.url}/api/notify/history?page_size=100", headers=token(user)).json()
    return {item["id"]: item["viewed"] for item in answer["items"]}


def change(server: Server, user: str, method: str, path: str, ids: Sequence[str]) -> None:
    url = f"{server.url}/api/notify/{path}"
    answer = httpx.request(method, url, json={"ids": ids}, headers=token(user)).json()
    assert answer["updated"] == len(ids)


def test_stored_message_appears_is_read_and_deleted(console: Console, server: Server) -> None:
    user = "test-history-one"
    console.connect(user)
    console.has_history(unread=0)
    transient = console.push(user, "not stored")
    expect(console.row(transient)).to_be_visible()

    message_id = console.push(user, "你好 <b>history</b>", store=True)

    console.has_history(message_id, unread=1)
    row = console.history_row(message_id)
    expect(row).to_contain_text("你好 <b>history</b>")
    expect(row).to_have_attribute("data-viewed", "false")

    row.get_by_test_id("history-read").click()

    expect(row).to_have_attribute("data-viewed", "true")
    expect(row.get_by_test_id("history-read")).to_be_hidden()
    console.has_history(message_id, unread=0)
    assert stored(server, user) == {message_id: True}

    row.get_by_test_id("history-delete").click()

    console.has_history(unread=0)
    assert stored(server, user) == {}


def test_what_one_device_does_shows_on_the_other_without_reloading(
    console: Console, other: Console, server: Server
) -> None:
    user = "test-history-devices"
    first, second = reversed(store(server, user, 2))
    for device in (console, other):
        device.connect(user)
        device.has_history(second, first, unread=2)
    other.page.route("**/api/notify/**", lambda route: None)  # what it asks from here on is never answered

    console.history_row(first).get_by_test_id("history-read").click()

    expect(other.history_row(first)).to_have_attribute("data-viewed", "true", timeout=SOON_MS)
    expect(other.at("unread")).to_have_text("1", timeout=SOON_MS)
    expect(other.history_row(second)).to_have_attribute("data-viewed", "false")

    console.history_row(second).get_by_test_id("history-delete").click()

    expect(other.history_row(second)).to_have_count(0, timeout=SOON_MS)
    expect(other.at("unread")).to_have_text("0", timeout=SOON_MS)
    console.has_history(first, unread=0)


def test_older_pages_follow_the_first_and_nothing_is_shown_twice(console: Console, server: Server) -> None:
    user = "test-history-pages"
    ids = store(server, user, 25)
    console.at("token").fill(user)  # without a connection
    console.at("history-load").click()
    console.has_history(*ids[:PAGE_SIZE], unread=25)
    change(server, user, "DELETE", "delete", ids[:1])  # the page is not told; an offset would now leave one out

    console.at("history-older").click()

    console.has_history(*ids, unread=25)
    expect(console.at("history-older")).to_be_disabled()

    console.at("history-load").click()

    console.has_history(*ids[1 : PAGE_SIZE + 1], unread=24)
    expect(console.at("history-older")).to_be_enabled()


def test_message_that_comes_while_older_ones_are_shown_moves_nothing(console: Console, server: Server) -> None:
    user = "test-history-still"
    ids = store(server, user, PAGE_SIZE + 1)
    change(server, user, "POST", "viewed", ids)  # so that none of them arrives, and makes the panel look again
    console.connect(user)
    console.has_history(*ids[:PAGE_SIZE], unread=0)
    console.at("history-older").click()
    console.has_history(*ids, unread=0)

    requests: list[str] = []
    console.page.on("request", lambda request: requests.append(request.url))

    newer = console.push(user, "newer", store=True)

    console.has_history(*ids, unread=1)
    assert not any("/history" in url for url in requests)  # one that came with the number would be noted by now
    console.at("history-load").click()
    console.has_history(newer, *ids[: PAGE_SIZE - 1], unread=1)


def test_all_that_is_shown_is_read_at_once_and_without_a_connection(console: Console, server: Server) -> None:
    user = "test-history-all"
    ids = store(server, user, PAGE_SIZE + 2)
    console.at("token").fill(user)
    console.at("history-load").click()
    console.has_history(*ids[:PAGE_SIZE], unread=22)

    console.at("history-read-all").click()

    console.has_history(*ids[:PAGE_SIZE], unread=2)
    expect(console.at("history-read-all")).to_be_disabled()
    expect(console.at("history").locator('[data-viewed="true"]')).to_have_count(PAGE_SIZE)
    assert list(stored(server, user).values()) == [True] * PAGE_SIZE + [False] * 2

    console.history_row(ids[0]).get_by_test_id("history-delete").click()

    console.has_history(*ids[1:PAGE_SIZE], unread=2)
    assert list(stored(server, user)) == ids[1:]
    assert console.connections == 0


def test_curl_commands_store_and_list_as_the_page_does(console: Console) -> None:
    user, text = "test-history-'9", '@it\'s "quoted" $HOME `x` \\ 你好'
    console.connect(user)
    console.at("push-user-receiver").fill(user)
    console.at("push-user-body").fill(text)
    console.at("push-user-persist").check()

    message_id = console.run_curl("curl-user")["id"]

    console.has_history(message_id, unread=1)
    [item] = console.run_curl("curl-history")["items"]
    assert (item["id"], item["data"]) == (message_id, text)


def test_refused_request_is_said_until_one_succeeds(console: Console) -> None:
    console.at("token").fill("wrong")
    console.at("history-load").click()
    expect(console.at("history-error")).to_contain_text("401")
    expect(console.at("unread")).to_have_text("–")

    console.at("token").fill("test-history-error")
    expect(console.at("history-error")).to_be_hidden()
    console.at("history-load").click()

    console.has_history(unread=0)
    expect(console.at("history-error")).to_be_hidden()
    noted = [problem for problem in console.problems if STATUS_TEXT.search(problem)]
    assert console.problems == noted
    console.problems.clear()
