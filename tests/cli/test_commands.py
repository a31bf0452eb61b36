"""The command line: one clear line for every mistake, never a traceback."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from typer.testing import CliRunner

from app.cli.commands import cli
from app.settings import Settings
from tests.client import listening, stomp_client
from tests.service import Server, running_server

ROOT = Path(__file__).parents[2]
SECRET = "a secret of at least 32 bytes, for tests"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server(API_KEYS="the-key-of-a-back-end") as server:
        yield server


def fails(*arguments: str, status: int = 2, **env: str) -> str:
    """What is said in the one line that is said."""
    result = CliRunner().invoke(cli, list(arguments), env=env)
    assert result.exit_code == status, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("stomp-notify: ")
    assert result.stdout == ""
    return line


def ends(*arguments: str, cwd: Path, **env: str) -> tuple[int, str]:
    """Exit status and all output of a process of its own."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=cwd,
        env=inherited | {"PYTHONPATH": str(ROOT)} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stdout


# token


def test_token_carries_what_the_settings_ask_for() -> None:
    env = {"JWT_SECRET": SECRET, "JWT_ISSUER": "me", "JWT_AUDIENCE": "you", "JWT_USER_CLAIM": "user"}

    result = CliRunner().invoke(cli, ["token", "test1", "--scope", "push", "--scope", "read", "--ttl", "60"], env=env)

    assert result.exit_code == 0
    claims = jwt.decode(result.stdout.strip(), SECRET, algorithms=["HS256"], issuer="me", audience="you")
    assert (claims["user"], claims["scope"], claims["exp"] - claims["iat"]) == ("test1", "push read", 60)


@pytest.mark.parametrize("user", ["a/b", "", "a\nb", "x" * 200])
def test_token_for_nobody_is_refused(user: str) -> None:
    line = fails("token", user, JWT_SECRET=SECRET)

    assert "user id" in line
    assert SECRET not in line


def test_token_needs_a_secret() -> None:
    assert "JWT_SECRET" in fails("token", "test1")


@pytest.mark.parametrize("ttl", ["0", "-1", "soon"])
def test_lifetime_that_is_none_is_refused(ttl: str) -> None:
    result = CliRunner().invoke(cli, ["token", "test1", "--ttl", ttl], env={"JWT_SECRET": SECRET})

    assert result.exit_code == 2
    assert "--ttl" in result.stderr


def test_bad_settings_are_named_all_at_once() -> None:
    line = fails("token", "test1", PORT="many", LOG_LEVEL="LOUD", JWT_SECRET=SECRET)

    assert "PORT" in line
    assert "LOG_LEVEL" in line
    assert SECRET not in line


def test_env_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff=1\n")

    assert ".env" in fails("token", "test1")


# serve


def test_application_that_cannot_be_loaded_is_named() -> None:
    assert "--app shop: expected module:name" in fails("serve", "--app", "shop")
    assert "there is no module 'shop'" in fails("serve", "--app", "shop:create")


# push


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "localhost", "http://[", "ftp://127.0.0.1", "http://\x00", ""])
def test_push_to_an_address_where_nothing_is_says_so(url: str) -> None:
    assert "cannot be reached" in fails("push", "hi", "--url", url, PORT="1")


def test_push_goes_where_host_and_port_say() -> None:
    assert "http://[::1]:1 " in fails("push", "hi", HOST="::1", PORT="1")
    assert "http://127.0.0.1:1 " in fails("push", "hi", HOST="*", PORT="1")
    assert "http://127.0.0.2:1 " in fails("push", "hi", HOST="127.0.0.2, 127.0.0.3", PORT="1")
    assert "the Unix socket /no/where: give the address of its proxy with --url" in fails("push", "hi", UDS="/no/where")


@pytest.mark.parametrize(
    ("arguments", "key"),
    [(["\udcff"], "k"), (["hi", "--to", "\udcff"], "k"), (["hi"], "schlüssel"), (["hi"], "a\nb")],
)
def test_push_of_what_cannot_be_sent_is_refused(arguments: list[str], key: str) -> None:
    fails("push", *arguments, "--url", "http://127.0.0.1:1", API_KEY=key)


def test_refused_push_shows_the_problem(server: Server) -> None:
    result = CliRunner().invoke(cli, ["push", "hi", "--url", server.url, "--to", "a/b"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["status"] == 422

    result = CliRunner().invoke(cli, ["push", "hi", "--url", server.url], env={"API_KEY": "wrong"})
    assert result.exit_code == 1
    assert json.loads(result.stdout)["status"] == 401


async def test_push_reaches_who_listens(server: Server) -> None:
    async with listening(server.websocket_url, "test-cli") as client:
        arguments = ["push", "grüße", "--url", server.url, "--to", "test-cli", "--api-key", "the-key-of-a-back-end"]
        result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)

        assert result.exit_code == 0
        assert json.loads((await client.expect("MESSAGE")).body)["data"] == "grüße"


# listen


@pytest.mark.parametrize("url", ["localhost", "http://[", "ftp://127.0.0.1"])
def test_listen_at_an_address_that_is_none_is_refused(url: str) -> None:
    fails("listen", "test1", "--url", url)


@pytest.mark.parametrize(("token", "said"), [("nobody", "bad or expired token"), ("test\nx:y", "header")])
def test_listen_with_a_token_that_is_none_gives_up(token: str, said: str, server: Server) -> None:
    result = CliRunner().invoke(cli, ["listen", token, "--url", server.url])

    assert result.exit_code == 2
    assert said in result.stderr.splitlines()[-1]
    assert result.stderr.startswith("stomp-notify: ")


async def test_listener_prints_and_acknowledges_what_is_pushed(server: Server, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-u", "-m", "app", "listen", "test-listen", "--url", server.url, "--topic", "news"),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            assert b"connected as test-listen" in await process.stdout.readline()
            arguments = ["push", "hello", "--url", server.url, "--to", "test-listen"]
            result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
            message_id = json.loads(result.stdout)["id"]
            assert (await process.stdout.readline()).decode().strip() == f'> {message_id} STRING_MSG "hello"'
            for _ in range(100):  # it prints first
                if f"确认成功, msgId {message_id}" not in server.log():
                    await asyncio.sleep(0.05)
    finally:
        process.terminate()
        await process.wait()
    assert f"确认成功, msgId {message_id}" in server.log()


# serve


def test_no_command_is_helped() -> None:
    assert "Usage" in CliRunner().invoke(cli, []).output


def test_port_in_use_ends_with_a_line_that_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, output = ends("serve", cwd=tmp_path, PORT=str(port))

    assert status == 2
    assert "Traceback" not in output
    assert f"HOST and PORT: cannot listen on 127.0.0.1:{port}" in output.splitlines()[-1]


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"PORT": "http"}, "PORT"),
        ({"HOST": "no-such-host.invalid"}, "HOST"),
        ({"APP_ENV": "prod"}, "API_KEYS"),
        ({"JWT_PUBLIC_KEY": "garbage"}, "JWT_PUBLIC_KEY"),
    ],
)
def test_settings_that_cannot_be_served_end_with_a_line_that_names_them(
    env: dict[str, str], named: str, tmp_path: Path
) -> None:
    status, output = ends("serve", cwd=tmp_path, **{"PORT": "0"} | env)

    assert status == 2
    (line,) = output.splitlines()
    assert line.startswith("stomp-notify: ")
    assert named in line
    assert SECRET not in line


def test_log_of_prod_is_json_line_by_line_and_without_secrets() -> None:
    env = {"APP_ENV": "prod", "JWT_SECRET": SECRET, "API_KEYS": "the-key-of-a-back-end"}
    with running_server(**env) as server:
        asyncio.run(_refused(server))
        status = server.stop()

        assert status == 0
        lines = [json.loads(line) for line in server.log().splitlines()]
        assert any("refused" in line["message"] for line in lines)
        for secret in (SECRET, "the-key-of-a-back-end", "test-token-1"):
            assert secret not in server.log()


async def _refused(server: Server) -> None:
    async with stomp_client(server.websocket_url) as client:
        await client.send("CONNECT", {"accept-version": "1.2", "Authorization": "Bearer test-token-1"})
        assert (await client.expect("ERROR")).headers["message"] == "The token is illegal"
