"""What `deploy/` is made of, as the tests look at it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from app.main import create_app
from app.runtime.configuration import Extensions, check_settings
from app.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
Document = dict[str, Any]

SETTINGS = {name.upper() for name in Settings.model_fields}

# For the places where a secret has to be put in.
REAL_SECRETS = {
    "JWT_SECRET": "0f3f4f1be0c7463d29e7f1c8f2ab9f6b1a9e53a1",
    "API_KEYS": "7d9d3a1a5b9c4a20b5b1,f0e6c6d58a3d4b2e8c11",
    "POSTGRES_PASSWORD": "5b1d7c3e9f",
}

_SECONDS = re.compile(r"(\d+)s")


def read_yaml(name: str) -> Document:
    """The one document of a file of `deploy/`."""
    (document,) = yaml.safe_load_all((DEPLOY / name).read_text())
    assert isinstance(document, dict)
    return document


def seconds(duration: str) -> int:
    """As compose writes it."""
    match = _SECONDS.fullmatch(duration)
    assert match, duration
    return int(match[1])


def settings_of(environment: Mapping[str, str]) -> Settings:
    """As the service reads them: what is empty is not set."""
    values: dict[str, Any] = {name.lower(): value for name, value in environment.items() if value}
    return Settings(_env_file=None, **values)


def check(settings: Settings) -> None:
    """Raises ConfigurationError if the service would not start with these; servers are not looked for."""
    check_settings(settings, Extensions())


def http_paths() -> set[str]:
    """Of all routes, as they are documented."""
    return set(create_app(Settings(_env_file=None)).openapi()["paths"])
