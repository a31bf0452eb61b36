"""DATABASE_URL: what it may say, and how it is understood."""

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.db.libpq import ConnectOptions, translate_options
from app.errors import ConfigurationError

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
ADDRESS = ("host", "port")  # as options, SQLAlchemy reads them: several hosts, or the directory of a socket
CREDENTIALS = {"user": "username", "password": "password", "dbname": "database"}


def parse_url(text: str) -> URL:
    """Return the URL with its driver, all its options checked. Raises ConfigurationError."""
    try:
        url = make_url(text)
        url = url.set(drivername=DRIVERS.get(url.drivername, url.drivername))
        if url.drivername not in DRIVERS.values():
            raise ConfigurationError(f"DATABASE_URL: {url.drivername} is not supported, sqlite and postgresql are")
        bare, _ = split_options(url)
        bare.get_dialect()().create_connect_args(bare)
    except (ValueError, ArgumentError) as error:
        raise ConfigurationError(f"DATABASE_URL cannot be read: {error}") from None
    return url


def split_options(url: URL) -> tuple[URL, ConnectOptions]:
    """Return the address without options, and the options for the driver. Raises ConfigurationError."""
    options = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    if url.get_backend_name() == "sqlite":
        _check_sqlite(url, options)
        return url, ConnectOptions()
    address = {name: url.query[name] for name in ADDRESS if options.pop(name, "")}
    replaced = {part: options.pop(name) for name, part in CREDENTIALS.items() if options.get(name)}
    return url.set(query=address, **replaced), translate_options(options)  # type: ignore[arg-type]


def _check_sqlite(url: URL, options: dict[str, str]) -> None:
    if options:
        raise ConfigurationError(f"DATABASE_URL: SQLite takes no options here, leave out {', '.join(options)}")
    if url.database in (None, "", ":memory:"):
        raise ConfigurationError("DATABASE_URL: SQLite needs a file, as in sqlite:///./notify.db")
    directory = Path(url.database or "").parent
    if not directory.is_dir():
        raise ConfigurationError(f"DATABASE_URL: there is no directory {directory}")
