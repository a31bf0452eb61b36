"""The command line: `stomp-notify`, or `python -m app`."""

import asyncio
import contextlib
import time
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from app.errors import ConfigurationError
from app.settings import Settings

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

LOOPBACK = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # for services that listen on all addresses

Url = Annotated[str | None, typer.Option(help="Address of the service; default: from HOST and PORT.")]


@cli.command()
def serve(
    app: Annotated[
        str | None,
        typer.Option(
            help="Serve your own application, as module:name; name is what create_app() returned, an application that "
            "it is mounted in, or a function that returns one of these."
        ),
    ] = None,
) -> None:
    """Run the service. Settings come from the environment and from .env."""
    from app.server.server import serve as run

    try:
        run(_settings(), app)
    except ConfigurationError as error:
        _fail(str(error))


@cli.command()
def migrate() -> None:
    """Bring the schema of DATABASE_URL up to date. Several nodes may run this at once."""
    from app.db.migrations import migrate_url

    try:
        asyncio.run(migrate_url(_settings().database_url))
    except ConfigurationError as error:
        _fail(str(error))


@cli.command()
def token(
    user: Annotated[str, typer.Argument(help="User id that the token proves.")],
    scope: Annotated[list[str] | None, typer.Option(help="Scope, for instance push; may be repeated.")] = None,
    ttl: Annotated[int, typer.Option(help="Seconds that the token is valid.", min=1)] = 3600,
) -> None:
    """Print a JWT made with JWT_SECRET."""
    from app.auth.tokens import mint_token

    settings = _settings()
    if settings.jwt_secret is None:
        _fail("JWT_SECRET is not set: it is needed to sign a token")
    try:
        text = mint_token(
            settings.jwt_secret.get_secret_value(),
            user,
            ttl_s=ttl,
            now_s=int(time.time()),
            scopes=scope or (),
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            user_claim=settings.jwt_user_claim,
            algorithm=next((name for name in settings.jwt_algorithms if name.startswith("HS")), "HS256"),
        )
    except ValueError as error:
        _fail(str(error))
    typer.echo(text)


@cli.command()
def push(
    text: Annotated[str, typer.Argument(help="Text of the message.")],
    to: Annotated[str | None, typer.Option(help="User id; default: all sessions that are online.")] = None,
    url: Url = None,
    api_key: Annotated[str | None, typer.Option(envvar="API_KEY", help="A key of API_KEYS.")] = None,
) -> None:
    """Push a text to one user, or to all sessions that are online."""
    import httpx

    body = {"receiver": to, "type": "STRING_MSG", "data": text}
    headers = {"X-API-Key": api_key} if api_key else {}
    try:
        answer = httpx.post(f"{url or _url()}/vh-stomp-wsend/push_msg", json=body, headers=headers, timeout=10)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        _fail(f"{url or _url()} cannot be reached: {error}")
    except UnicodeEncodeError:
        _fail("the text and the receiver must be valid UTF-8, the API key plain ASCII")
    typer.echo(answer.text)
    if answer.is_error:
        raise typer.Exit(1)


@cli.command()
def listen(
    token: Annotated[str, typer.Argument(help="JWT; in dev also any user id that starts with test.")],
    url: Url = None,
    ack: Annotated[bool, typer.Option(help="Acknowledge messages; without it they are resent.")] = True,
    topic: Annotated[list[str] | None, typer.Option(help="Topic to subscribe to as well; may be repeated.")] = None,
) -> None:
    """Print the messages of a user and acknowledge them, until Ctrl-C."""
    from websockets.exceptions import InvalidURI

    from app.cli.terminal import ListenOptions, SessionRefused
    from app.cli.terminal import listen as run

    websocket_url = (url or _url()).replace("http", "ws", 1) + "/stomp-ws"
    topics = tuple(name if name.startswith("/topic/") else f"/topic/{name}" for name in topic or ())
    options = ListenOptions(url=websocket_url, token=token, acknowledge=ack, topics=topics)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(run(options, typer.echo))
    except SessionRefused as refused:
        _fail(f"the service refused the session: {refused}")
    except (InvalidURI, ValueError) as error:  # an invalid address, a token that no header can hold
        _fail(str(error))


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, item['loc'])).upper()}: {item['msg']}" for item in error.errors())
        _fail("; ".join(problems))
    except UnicodeDecodeError:
        _fail(".env is not valid UTF-8")


def _url() -> str:
    settings = _settings()
    host = next(iter(settings.hosts), None)
    if host is None:
        _fail(f"the service listens only on the Unix socket {settings.uds}: give the address of its proxy with --url")
    host = LOOPBACK.get(host, host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _fail(text: str) -> NoReturn:
    typer.echo(f"stomp-notify: {text}", err=True)
    raise typer.Exit(2)


def main() -> None:
    cli()
