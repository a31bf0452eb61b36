"""`serve --app module:name`: what can be named, and what is said of everything else."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from app.errors import ConfigurationError
from app.main import create_app, mount
from app.server.loading import load_app, services_of

MODULE = """
from fastapi import FastAPI
from app.main import create_app, mount

app = create_app()
bare = FastAPI()
number = 5

def create():
    return create_app()

def parent():
    outer = FastAPI()
    mount(outer, "/notify", create_app())
    return outer

def nothing():
    return None

def needs(settings, clock=None):
    return create_app(settings)

async def coroutine():
    return create_app()

class Callable:
    def __call__(self):
        return create_app()

instance = Callable()

class Factories:
    create = staticmethod(create_app)
"""


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules in a working directory of their own."""
    (tmp_path / "embedder.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("import no_such_module_of_mine\n")
    (tmp_path / "failing.py").write_text("raise RuntimeError('of the embedder')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("embedder", "broken", "failing"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["app", "create", "parent", "Factories.create", "instance"])
def test_an_application_or_a_function_that_returns_one_is_loaded(name: str) -> None:
    app = load_app(f"embedder:{name}")

    assert isinstance(app, FastAPI)
    assert len(list(services_of(app))) == 1


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("embedder", "expected module:name"),
        ("embedder:", "expected module:name"),
        (":app", "expected module:name"),
        (".embedder:app", "expected module:name"),
        ("embedder..inner:app", "expected module:name"),
        ("no_such_module:app", "there is no module 'no_such_module'"),
        ("embedder.inner:app", "there is no module 'embedder.inner'"),
        ("embedder:missing", "the module 'embedder' has no 'missing'"),
        ("embedder:Factories.missing", "the module 'embedder' has no 'Factories.missing'"),
        ("embedder:number", "found int"),
        ("embedder:nothing", "found NoneType"),
        ("embedder:needs", "found a function with parameters: missing a required argument: 'settings'"),
        ("embedder:coroutine", "found an async function"),
        ("embedder:bare", "does not contain stomp-notify"),
    ],
)
def test_any_other_name_is_refused_with_what_was_expected(target: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_app(target)

    assert str(caught.value).startswith(f"--app {target}: ")
    assert expected in str(caught.value)


def test_an_error_inside_the_module_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="of the embedder"):
        load_app("failing:app")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_mine"):
        load_app("broken:app")


def test_services_are_found_at_any_depth() -> None:
    inner, middle, outer = create_app(), FastAPI(), FastAPI()
    mount(middle, "/b", inner)
    outer.mount("/a", middle)

    assert list(services_of(outer)) == [inner]
