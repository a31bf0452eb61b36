"""The service without a garbage collector, and with two routes that say what is left of its objects."""

import gc
import socket
import sys
import types
from collections import Counter
from collections.abc import Iterable

from app.main import create_app
from app.server.logs import configure_logging
from app.server.server import DrainingServer, server_config
from app.settings import Settings

RUNNING = (types.FrameType, types.TracebackType, types.CoroutineType, types.AsyncGeneratorType, BaseException)
RUNNING_NAMES = ("Task", "Future", "TimerHandle")


def live() -> dict[str, int]:
    """Count objects by type: of the service's own types, and what a call that has not ended consists of."""
    return count(item for item in gc.get_objects() if is_of_interest(item))


def garbage() -> dict[str, int]:
    """Count by type what only the collector can free."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    found = count(gc.garbage)
    gc.garbage.clear()
    gc.collect()
    return found


def is_of_interest(item: object) -> bool:
    kind = type(item)
    return kind.__module__.startswith("app.") or isinstance(item, RUNNING) or kind.__name__ in RUNNING_NAMES


def count(items: Iterable[object]) -> dict[str, int]:
    return Counter(f"{type(item).__module__}.{type(item).__qualname__}" for item in items)


def main() -> None:
    settings = Settings()
    configure_logging(level=settings.log_level, format=settings.log_format or "text")
    app = create_app(settings)
    app.add_api_route("/live", live)
    app.add_api_route("/garbage", garbage)
    gc.disable()
    with socket.create_server(("127.0.0.1", settings.port)) as listener:
        sys.stderr.write(f"listening on http://127.0.0.1:{listener.getsockname()[1]}\n")
        DrainingServer(server_config(app, settings), [app]).run(sockets=[listener])


if __name__ == "__main__":
    main()
