"""`stomp-notify serve --app module:name`: an application of the embedder on the server of the service."""

import importlib
import sys
from collections.abc import Iterator

from fastapi import FastAPI
from starlette.routing import Mount

from app.errors import ConfigurationError
from app.main import settings_of


def load_app(target: str) -> FastAPI:
    """Import `module:name` and return the application that it names or, if it names a function, that this returns.

    The working directory comes first on the import path, as with `python -m`. Raises ConfigurationError that says what
    was expected; an error inside the module or the function is raised as it is, because its traceback is what helps.
    """
    module_name, separator, name = target.partition(":")
    if not (module_name and separator and name):
        raise ConfigurationError(f"--app {target}: expected module:name, for instance myservice.notify:create")
    found = _find(target, module_name, name)
    app = found() if callable(found) and not isinstance(found, FastAPI) else found
    if not isinstance(app, FastAPI):
        raise ConfigurationError(
            f"--app {target}: expected a FastAPI application or a function without parameters "
            f"that returns one, found {type(app).__name__}"
        )
    if not list(services_of(app)):
        raise ConfigurationError(
            f"--app {target}: the application does not contain stomp-notify; "
            "return what app.main.create_app() returns, or mount that with app.main.mount()"
        )
    return app


def _find(target: str, module_name: str, name: str) -> object:
    if "" not in sys.path and "." not in sys.path:
        sys.path.insert(0, "")
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module was found; something that it imports was not
        raise ConfigurationError(
            f"--app {target}: there is no module {error.name!r} in the working directory or "
            "among the installed packages"
        ) from None
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"--app {target}: the module {module_name!r} has no {name!r}")
        found = getattr(found, part)
    return found


def services_of(app: FastAPI) -> Iterator[FastAPI]:
    """Return the applications made by `create_app`: `app` itself, or those that are mounted in it at any depth."""
    if settings_of(app) is not None:
        yield app
        return
    for route in app.routes:
        if isinstance(route, Mount) and isinstance(route.app, FastAPI):
            yield from services_of(route.app)
