"""Loading of the application that `stomp-notify serve --app module:name` names."""

import importlib
import inspect
import sys
from collections.abc import Iterator

from fastapi import FastAPI
from starlette.routing import Mount

from app.errors import ConfigurationError
from app.main import settings_of


def load_app(target: str) -> FastAPI:
    """Import `module` and return the application `name`, or the application that the function `name` returns.

    The working directory comes first on the import path, as with `python -m`. Raises ConfigurationError that says what
    was expected. An error inside the module or the function is raised unchanged, because its traceback shows the cause.
    """
    module_name, separator, name = target.partition(":")
    if not (all(module_name.split(".")) and separator and name):
        raise ConfigurationError(f"--app {target}: expected module:name, for instance myservice.notify:create")
    app = _call(target, _find(target, module_name, name))
    if not isinstance(app, FastAPI):
        raise _unexpected(target, type(app).__name__)
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


def _call(target: str, found: object) -> object:
    """Return what a function returns, and anything else as it is."""
    if isinstance(found, FastAPI) or not callable(found):
        return found
    if inspect.iscoroutinefunction(found):
        raise _unexpected(target, "an async function")
    try:
        inspect.signature(found).bind()
    except TypeError as error:  # its text names the parameter
        raise _unexpected(target, f"a function with parameters: {error}") from None
    return found()


def _unexpected(target: str, found: str) -> ConfigurationError:
    return ConfigurationError(
        f"--app {target}: expected a FastAPI application or a function without parameters "
        f"that returns one, found {found}"
    )


def services_of(app: FastAPI) -> Iterator[FastAPI]:
    """Return the applications made by `create_app`: `app` itself, or those that are mounted in it at any depth."""
    if settings_of(app) is not None:
        yield app
        return
    for route in app.routes:
        if isinstance(route, Mount) and isinstance(route.app, FastAPI):
            yield from services_of(route.app)
