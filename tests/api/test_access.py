"""Who may do what, with which answer to the others."""

from collections.abc import AsyncIterator

import pytest

from app.auth.tokens import mint_token
from app.timing.clock import SystemClock
from tests.api.service import KEY, PUSH, SECRET, Service, problem, service, settle
from tests.fakes import FakeAuthenticator

GUARDED = [
    ("POST", f"{PUSH}/push_all_obj"),
    ("POST", f"{PUSH}/push_all_obj/test1"),
    ("POST", f"{PUSH}/cluster/notify/test1"),
    ("POST", f"{PUSH}/push_msg"),
    ("POST", f"{PUSH}/push_batch"),
    ("POST", f"{PUSH}/push_topic/a"),
    ("GET", f"{PUSH}/push_status/a"),
    ("GET", "/api/sessions"),
    ("GET", "/api/sessions/a"),
    ("DELETE", "/api/sessions/a"),
]


def token(*scopes: str, user: str = "back-end", ttl_s: int = 60) -> str:
    return mint_token(SECRET, user, ttl_s=ttl_s, now_s=SystemClock().epoch_ms() // 1000, scopes=scopes)


@pytest.fixture
async def prod() -> AsyncIterator[Service]:
    async with service(app_env="prod", jwt_secret=SECRET, api_keys=(KEY, "another-key-that-is-long")) as running:
        yield running


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"X-API-Key": f"{KEY} "[:-2]},
        {"X-API-Key": f"{KEY},another-key-that-is-long"},
        {"X-API-Key": "wrong", "Authorization": "valid"},
        {"Authorization": "Bearer test1"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic dTpw"},
        {"Authorization": "expired"},
        {"Cookie": f"X-API-Key={KEY}"},
    ],
)
async def test_without_a_good_credential_nothing_is_done(
    method: str, path: str, headers: dict[str, str], prod: Service
) -> None:
    made = {"valid": f"Bearer {token('push')}", "expired": f"Bearer {token('push', ttl_s=1)[:-3]}AAA"}
    sent = {name: made.get(value, value) for name, value in headers.items()}

    answer = await prod.http.request(method, path, content=b"x" * 600_000 if method == "POST" else b"", headers=sent)

    problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_token_of_a_user_does_not_push(method: str, path: str, prod: Service) -> None:
    for scopes in ((), ("read", "pushy"), ("PUSH",)):
        answer = await prod.http.request(
            method, path, content=b'"x"', headers={"Authorization": f"Bearer {token(*scopes)}"}
        )
        problem(answer, 403, "forbidden")


@pytest.mark.parametrize(
    "headers", [{"X-API-Key": KEY}, {"X-API-Key": "another-key-that-is-long"}, {"Authorization": "push"}]
)
async def test_key_or_scope_opens_the_door(headers: dict[str, str], prod: Service) -> None:
    if "Authorization" in headers:
        headers = {"Authorization": f"Bearer {token('read', 'push')}"}

    answer = await prod.http.post(f"{PUSH}/push_all_obj/test1", content=b"x", headers=headers)

    assert answer.status_code == 200


async def test_credential_of_another_secret_is_wrong(prod: Service) -> None:
    foreign = mint_token("x" * 40, "a", ttl_s=60, now_s=SystemClock().epoch_ms() // 1000, scopes=("push",))

    answer = await prod.http.get("/api/sessions", headers={"Authorization": f"Bearer {foreign}"})

    body = problem(answer, 401)
    assert foreign not in body["detail"]


async def test_probes_and_pages_need_no_key(prod: Service) -> None:
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/stomp-websocket-sockjs.html"):
        assert (await prod.http.get(path)).status_code == 200, path


async def test_key_that_is_wrong_is_wrong_in_dev_too() -> None:
    async with service(api_keys=("short",)) as dev:
        assert (await dev.push("/push_all_obj")).status_code == 200
        assert (await dev.push("/push_all_obj", X_API_Key="short")).status_code == 200
        problem(await dev.push("/push_all_obj", X_API_Key="wrong"), 401)


async def test_own_authenticator_decides_alone() -> None:
    async with service(app_env="prod", authenticator=FakeAuthenticator(), api_keys=(KEY,)) as own:
        assert (await own.push("/push_all_obj", Authorization="Bearer pusher")).status_code == 200
        problem(await own.push("/push_all_obj", Authorization="Bearer alice"), 403)
        problem(await own.push("/push_all_obj", Authorization="Bearer bad"), 401)
        own.listener("alice")
        await settle()
        assert len(own.runtime.hub) == 1


async def test_dev_tokens_are_worth_nothing_in_prod(prod: Service) -> None:
    listener = prod.listener("test1")
    await settle()

    assert listener.reason is not None
    assert listener.reason.code == 4510
    assert len(prod.runtime.hub) == 0
