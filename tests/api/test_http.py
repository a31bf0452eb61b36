"""What holds for all routes: unknown paths, the documentation, pages, other origins."""

import re
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.cors import PageCORS
from tests.api.service import PROBLEM, PUSH, Service, problem, service

OPERATIONS = {
    ("post", f"{PUSH}/push_all_obj"),
    ("post", f"{PUSH}/push_all_obj/{{receiver}}"),
    ("post", f"{PUSH}/push_msg"),
    ("post", f"{PUSH}/push_batch"),
    ("post", f"{PUSH}/push_topic/{{topic}}"),
    ("get", f"{PUSH}/push_status/{{message_id}}"),
    ("get", "/api/sessions"),
    ("get", "/api/sessions/{user}"),
    ("delete", "/api/sessions/{session_id}"),
    ("get", "/healthz"),
    ("get", "/readyz"),
}


@pytest.mark.parametrize(
    "path", ["/nope", "/api", "/api/sessions/", "/vh-stomp-wsend", "/healthz/", "//", "/%00", "/%FF", "/" + "a" * 9000]
)
async def test_unknown_path_is_a_problem(path: str, dev: Service) -> None:
    problem(await dev.http.get(f"http://service.test{path}"), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", f"{PUSH}/push_msg"), ("PUT", f"{PUSH}/push_all_obj/a"), ("POST", "/api/sessions"), ("DELETE", "/healthz")],
)
async def test_wrong_method_is_a_problem_that_says_which_are_right(method: str, path: str, dev: Service) -> None:
    answer = await dev.http.request(method, path)

    problem(answer, 405)
    assert answer.headers["allow"]


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/healthz", "/readyz", "/docs", "/openapi.json", "/stomp-websocket-sockjs.html", "/static/page.js"),
        *("/static-offline-docs/swagger-ui.css", "/api/sessions", "/api/sessions/a", f"{PUSH}/push_status/x", "/nope"),
    ],
)
async def test_head_is_answered_as_get_without_a_body(path: str, dev: Service) -> None:
    head, get = await dev.http.head(path), await dev.http.get(path)

    assert (head.status_code, head.content) == (get.status_code, b"")
    assert dict(head.headers) == dict(get.headers)


async def test_every_get_has_its_head(dev: Service, document: dict[str, Any]) -> None:
    for method, path in operations(document):
        answer = await dev.http.head(re.sub(r"{\w+}", "x", path))
        if method != "delete":
            assert (answer.status_code == 405) is (method == "post"), path
        assert "HEAD" not in answer.headers.get("allow", "")
    assert {*(await dev.http.delete("/healthz")).headers["allow"].split(", ")} == {"GET", "HEAD"}


@pytest.mark.parametrize("host", ["[", "", "a b", "x:99999", "[::1"])
async def test_strange_host_is_no_defect(host: str, dev: Service) -> None:
    problem(await dev.http.get("/nope", headers={"Host": host}), 404)


# The OpenAPI document


@pytest.fixture
async def document(dev: Service) -> dict[str, Any]:
    answer = await dev.http.get("/openapi.json")
    assert isinstance(answer.json(), dict)
    return dict(answer.json())


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


async def test_every_operation_is_documented(document: dict[str, Any]) -> None:
    found = operations(document)

    assert set(found) == OPERATIONS | {key for key in found if "notify" in key[1] or "cluster" in key[1]}
    known_tags = {tag["name"] for tag in document["tags"]}
    for key, operation in found.items():
        assert operation["tags"], key
        assert set(operation["tags"]) <= known_tags, key
        assert operation["summary"], key
        assert operation["description"], key


async def test_pushes_document_who_may_push_and_what_they_read(document: dict[str, Any]) -> None:
    pushes = {path: one for (method, path), one in operations(document).items() if method == "post" and PUSH in path}
    assert len(pushes) == 6
    for path, operation in pushes.items():
        assert operation["security"] == [{"APIKeyHeader": []}, {"HTTPBearer": []}], path
        parameters = {(one["name"], one["in"], one["required"]) for one in operation["parameters"]}
        named = {(name, "path", True) for name in ("receiver", "topic") if "{" + name + "}" in path}
        assert parameters == named | {("Idempotency-Key", "header", False)}, path
        assert operation["requestBody"]["required"], path
    assert {"APIKeyHeader", "HTTPBearer"} <= set(document["components"]["securitySchemes"])


def has_example(value: object, document: dict[str, Any]) -> bool:
    """Anywhere below, references followed."""
    if isinstance(value, list):
        return any(has_example(item, document) for item in value)
    if not isinstance(value, dict):
        return False
    if "example" in value or "examples" in value:
        return True
    if (reference := value.get("$ref")) is not None:
        return has_example(document["components"]["schemas"][reference.rsplit("/", 1)[1]], document)
    return any(has_example(item, document) for item in value.values())


async def test_every_operation_shows_an_example_of_what_goes_in_and_out(document: dict[str, Any]) -> None:
    for (method, path), operation in operations(document).items():
        good = {code: answer for code, answer in operation["responses"].items() if code < "300"}
        assert good, path
        if method != "delete":
            assert has_example(good, document), f"{method} {path} shows no answer"
        if method == "post":
            assert has_example(operation["requestBody"], document), f"{path} shows no body"


async def test_every_error_that_is_documented_is_a_problem(document: dict[str, Any]) -> None:
    for key, operation in operations(document).items():
        guarded = "/healthz" not in key[1] and "/readyz" not in key[1]
        errors = {code: answer for code, answer in operation["responses"].items() if code >= "400"}
        refusals = {"401"} if "/api/notify" in key[1] else {"401", "403"}  # what is one's own needs no scope
        assert not guarded or refusals <= set(errors), key
        if key[0] == "post" and "/api/notify" not in key[1]:
            assert {"413", "422", "429", "503"} <= set(errors), key
        for code, answer in errors.items():
            assert set(answer["content"]) == {PROBLEM}, f"{key} {code}"
            assert code == "default" or answer["content"][PROBLEM]["example"]["status"] == int(code)


async def test_every_reference_of_the_document_leads_somewhere(dev: Service, document: dict[str, Any]) -> None:
    text = (await dev.http.get("/openapi.json")).text

    for name in re.findall(r'"\$ref":\s*"#/components/schemas/([^"]+)"', text):
        assert name in document["components"]["schemas"]
    assert "#/$defs/" not in text


async def test_parameters_and_credentials_of_the_push_routes_are_documented(document: dict[str, Any]) -> None:
    """They are read by hand, so nothing but this keeps the document true."""
    schemes = document["components"]["securitySchemes"]
    assert set(schemes) == {"APIKeyHeader", "HTTPBearer"}
    for (method, path), operation in operations(document).items():
        parameters = {(one["in"], one["name"]) for one in operation.get("parameters", ())}
        assert {("path", name) for name in re.findall(r"\{(\w+)\}", path)} <= parameters, path
        if path.startswith("/vh-stomp-wsend"):
            assert operation["security"] == [{name: []} for name in schemes], path
            assert (("header", "Idempotency-Key") in parameters) is (method == "post"), path


# Pages


@pytest.mark.parametrize("path", ["/docs", "/stomp-websocket-sockjs.html"])
async def test_page_loads_nothing_from_elsewhere(path: str, dev: Service) -> None:
    page = (await dev.http.get(path)).text
    sources = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)""", page)

    assert sources
    for source in sources:
        assert not re.match(r"\w+:|//", source), source
        answer = await dev.http.get(urljoin(path, source))
        assert answer.status_code == 200, source
        if source.endswith(".js") or source.endswith(".css"):
            assert not re.search(r"""(?:import|from|url\()\s*["']?https?://""", answer.text[:100_000]), source


async def test_demo_is_guarded_against_other_pages(dev: Service) -> None:
    answer = await dev.http.get("/stomp-websocket-sockjs.html")

    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "<script>" not in answer.text
    assert not re.search(r"\son\w+\s*=", answer.text)


async def test_home_leads_to_the_demo_in_dev_only(dev: Service) -> None:
    answer = await dev.http.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/stomp-websocket-sockjs.html")

    prod = {"app_env": "prod", "jwt_secret": "s" * 32, "api_keys": ("k" * 16,)}
    async with service(**prod) as running:
        problem(await running.http.get("/"), 404)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../main.py",
        "/static/%2e%2e/main.py",
        "/static/..%2fmain.py",
        "/static/..%2f..%2fpyproject.toml",
        "/static/%2Fetc/passwd",
        "/static//etc/passwd",
        "/static/..\\main.py",
        "/static/%00",
        "/static/page.js%00.html",
        "/static/" + "a" * 5000,
        "/static/page.js/x",
        "/static",
        "/static/",
        "/static/.",
    ],
)
async def test_static_files_do_not_escape_their_folder(path: str, dev: Service) -> None:
    problem(await dev.http.get(f"http://service.test{path}"), 404)


# Other origins


async def test_pages_of_all_origins_may_push_in_dev(dev: Service) -> None:
    answer = await dev.push("/push_all_obj", Origin="https://shop.example")

    assert answer.headers["access-control-allow-origin"] == "*"


async def test_only_listed_origins_may_push_elsewhere() -> None:
    async with service(allowed_origins=("https://shop.example",)) as strict:
        for origin, allowed in (("https://shop.example", True), ("https://evil.example", False), ("null", False)):
            answer = await strict.push("/push_all_obj", Origin=origin)
            assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
            preflight = await strict.http.options(
                f"{PUSH}/push_all_obj",
                headers={
                    "Origin": origin,
                    "Access-Control-Request-Method": "POST",
                    "Access-Control-Request-Headers": "X-API-Key",
                },
            )
            assert (preflight.status_code == 200) is allowed


async def test_no_origin_is_allowed_where_none_is_listed() -> None:
    async with service(app_env="prod", jwt_secret="s" * 32, api_keys=("k" * 16,)) as prod:
        answer = await prod.http.get("/healthz", headers={"Origin": "https://shop.example"})

    assert "access-control-allow-origin" not in answer.headers


async def test_errors_can_be_read_by_pages_too(dev: Service) -> None:
    answer = await dev.push("/push_all_obj/a%2Fb", Origin="https://shop.example")

    problem(answer, 422)
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("vary", [(), ("Accept",), ("Accept", "Cookie")])
async def test_answer_to_no_page_varies_with_the_origin_as_starlette_has_it(vary: tuple[str, ...]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = Response("x")
        for value in vary:
            response.headers.append("Vary", value)
        await response(scope, receive, send)

    headers = []
    for middleware in (CORSMiddleware, PageCORS):
        transport = httpx.ASGITransport(middleware(app, allow_origins=["*"]))
        async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as http:
            answer = await http.get("/")
        headers.append(sorted(answer.headers.multi_items()))

    assert headers[0] == headers[1]
    assert ("vary", ", ".join([*vary, "Origin"])) in headers[1]
