"""The console page in a real browser, as a developer uses it on the first day."""

import re

import httpx
import pytest
from playwright.sync_api import Browser, expect
from websockets.sync.client import connect

from tests.interop.blocker import blocking_websockets
from tests.interop.console import PAGE, Console
from tests.service import Server, running_server

INTERVAL_MS = 1000
SETTINGS = {
    "ACK_CHECK_WAIT_MS": str(INTERVAL_MS),
    "ACK_RETRY_INTERVAL_MS": str(INTERVAL_MS),
    "ACK_MESSAGE_TTL_MS": "60000",
}


def test_push_by_the_form_arrives_and_is_acknowledged(console: Console) -> None:
    console.connect("test1")
    expect(console.at("transport")).to_have_text("websocket")

    message_id = console.push("test1", "你好 <b>page</b>")

    row = console.row(message_id)
    expect(row).to_have_attribute("data-state", "acknowledged")
    expect(row).to_have_attribute("data-attempt", "1")
    expect(row).to_contain_text("你好 <b>page</b>")
    latency = re.search(r"(\d+) ms", row.inner_text())
    assert latency
    assert int(latency[1]) < 2000
    assert console.status(message_id) == "delivered"
    expect(console.at("log")).to_contain_text(message_id)
    expect(console.at("log")).not_to_contain_text("Bearer test1")


def test_message_to_be_acknowledged_by_hand_comes_again_until_the_button_is_pressed(console: Console) -> None:
    console.connect("test-page-manual")
    console.at("ack-manual").check(force=True)
    message_id = console.push("test-page-manual", "by hand")
    row = console.row(message_id)
    expect(row).to_have_attribute("data-attempt", "1")
    expect(row).to_have_attribute("data-state", "waiting")
    expect(row.get_by_text("redelivered")).to_be_hidden()
    expect(row).to_have_attribute("data-attempt", "2")
    expect(row.get_by_text("redelivered")).to_be_visible()
    expect(row).to_have_count(1)
    assert console.status(message_id) == "sent"

    row.get_by_test_id("ack-button").click()

    expect(row).to_have_attribute("data-state", "acknowledged")
    expect(row.get_by_test_id("ack-button")).to_be_hidden()
    assert console.status(message_id) == "delivered"
    attempt = row.get_attribute("data-attempt")
    console.page.wait_for_timeout(1.5 * INTERVAL_MS)
    assert row.get_attribute("data-attempt") == attempt


def test_broadcast_is_shown_and_wants_no_ack(console: Console) -> None:
    console.connect("test-page-cast")
    console.at("ack-manual").check(force=True)

    message_id = console.broadcast("to all of you")

    row = console.row(message_id)
    expect(row).to_contain_text("to all of you")
    expect(row).to_have_attribute("data-state", "received")
    expect(row.get_by_test_id("ack-button")).to_be_hidden()


def test_topic_messages_come_after_subscribing(console: Console) -> None:
    console.connect("test-page-topic")
    missed = console.push_topic("page/news", "too early")
    console.at("topic-name").fill("page/news")
    console.at("topic-subscribe").click()
    expect(console.at("log")).to_contain_text("destination:/topic/page/news")

    message_id = console.push_topic("page/news", "in time")

    expect(console.row(message_id)).to_contain_text("in time")
    expect(console.row(missed)).to_have_count(0)


@pytest.mark.parametrize("kind", ["user", "broadcast", "topic"])
def test_curl_command_of_the_page_does_what_its_form_does(console: Console, kind: str) -> None:
    user, text = "test-page-ü'9", f'@{kind} it\'s "quoted" $HOME `x` \\ 你好'
    console.connect(user)
    console.at("push-user-receiver").fill(user)
    console.at(f"push-{kind}-body").fill(text)

    answer = console.run_curl(f"curl-{kind}")

    assert answer["sessions"] >= 1
    expect(console.row(answer["id"])).to_contain_text(text)


def test_wrong_token_is_said_and_not_tried_again(console: Console) -> None:
    console.at("token").fill("wrong")
    console.at("connect").click()

    expect(console.page.get_by_text("4510").first).to_be_visible()
    expect(console.at("status")).to_have_text("closed")
    console.page.wait_for_timeout(1500)  # a second attempt would come within 0.5 s
    assert console.connections == 1


def test_disconnect_is_final_and_connect_starts_again(console: Console) -> None:
    first = console.connect("test-page-again")
    console.at("disconnect").click()
    expect(console.at("status")).to_have_text("closed")
    assert httpx.get(f"{console.server.url}/api/sessions/test-page-again").json()["items"] == []
    assert console.connect("test-page-again") != first


def client_ids(console: Console, user: str) -> list[str]:
    items = httpx.get(f"{console.server.url}/api/sessions/{user}").json()["items"]
    return [item["client_id"] for item in items]


def test_a_tab_keeps_its_name_over_a_reload_and_a_copy_of_it_gets_another(console: Console) -> None:
    console.connect("test-page-tab")
    (name,) = client_ids(console, "test-page-tab")
    with console.page.expect_popup() as popup:
        console.page.evaluate("window.open(location.href)")  # which copies the storage, as duplicating a tab does
    copy = popup.value
    copy.get_by_test_id("token").fill("test-page-tab")
    copy.get_by_test_id("connect").click()
    expect(copy.get_by_test_id("status")).to_have_text("connected")
    first, second = client_ids(console, "test-page-tab")
    assert (first, second == name) == (name, False)

    console.page.reload()
    console.connect("test-page-tab")
    assert client_ids(console, "test-page-tab") == [second, name]
    expect(copy.get_by_test_id("status")).to_have_text("connected")


def test_a_tab_whose_session_was_taken_over_says_so_and_stays_away(console: Console) -> None:
    console.connect("test-page-taken")
    (name,) = client_ids(console, "test-page-taken")
    with connect(console.server.websocket_url) as websocket:
        websocket.send(f"CONNECT\naccept-version:1.2\nAuthorization:test-page-taken\nclient-id:{name}\n\n\0")
        expect(console.at("status")).to_have_text("closed")
        expect(console.page.locator("#status-detail")).to_have_text("another tab or window has taken over")
        expect(console.at("last-close")).to_have_text("4505 replaced")
        console.page.wait_for_timeout(1500)  # an attempt to reconnect would come within 0.5 s
        assert console.connections == 1
        console.connect("test-page-taken")
        assert len(client_ids(console, "test-page-taken")) == 2


def test_page_reconnects_by_itself_when_the_server_is_back(browser: Browser) -> None:
    context = browser.new_context()
    with running_server(**SETTINGS) as server:
        console = Console(context.new_page(), server)
        first = console.connect("test-page-restart")
        console.at("topic-name").fill("page/news")
        console.at("topic-subscribe").click()
    expect(console.at("status")).not_to_have_text("connected")

    with running_server(**SETTINGS, PORT=str(server.port)) as again:
        expect(console.at("status")).to_have_text("connected", timeout=20_000)
        assert console.at("session").inner_text() != first
        expect(console.row(console.push("test-page-restart", "welcome back"))).to_have_attribute(
            "data-state", "acknowledged"
        )
        expect(console.row(console.push_topic("page/news", "still subscribed"))).to_be_visible()
        assert again.port == server.port
        context.close()
    refused = [problem for problem in console.problems if "ERR_CONNECTION_REFUSED" not in problem]
    assert refused == []  # the browser itself notes each attempt on a server that is not there


def test_page_falls_back_where_websocket_is_blocked_and_says_so(browser: Browser, server: Server) -> None:
    with blocking_websockets(server.port) as blocker, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{blocker.port}{PAGE}")
        page.get_by_test_id("token").fill("test-page-blocked")
        page.get_by_test_id("connect").click()
        expect(page.get_by_test_id("status")).to_have_text("connected", timeout=3000)
        expect(page.get_by_test_id("transport")).to_have_text("xhr-streaming")

        pushed = httpx.post(
            f"{server.url}/vh-stomp-wsend/push_all_obj/test-page-blocked", content="behind a proxy"
        ).json()

        row = page.locator(f'[data-message-id="{pushed["id"]}"]')
        expect(row).to_have_attribute("data-state", "acknowledged", timeout=3000)
        assert blocker.blocked == 1
