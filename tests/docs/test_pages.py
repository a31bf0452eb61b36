"""The pages say what the code does: links, routes, close codes, keys, settings."""

import re
import tomllib
from pathlib import Path

import pytest

from app import disconnects
from app.cluster import keys
from app.disconnects import DisconnectReason
from app.main import create_app
from app.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md"), ROOT / "deploy/README.md"])


def page(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_readme_is_short() -> None:
    assert len(page("README.md").splitlines()) <= 200


def test_the_routes_of_the_page_are_those_of_the_service() -> None:
    found = re.findall(r"`(GET|POST|PUT|DELETE) (/[^`]*)`", page("docs/rest.md"))
    documented = {(method, _any_parameter(path)) for method, path in found}
    schema = create_app(Settings(_env_file=None)).openapi()
    served = {(method.upper(), _any_parameter(path)) for path, item in schema["paths"].items() for method in item}
    assert documented == {entry for entry in served if not entry[1].startswith("/stomp-ws")}


def _any_parameter(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def test_the_close_codes_of_the_page_are_those_of_the_registry() -> None:
    section = page("docs/clients.md").partition("## Close codes")[2]
    stays_away = {int(code) for code in re.findall(r"\b(\d{4})\b", section)}
    reasons = [value for value in vars(disconnects).values() if isinstance(value, DisconnectReason)]
    assert stays_away == {reason.code for reason in reasons} - {1006}, "1006 is never sent"
    reconnect, _, stay = section.partition("| reconnect |")
    for reason in reasons:
        if reason.code != 1006:
            assert str(reason.code) in (reconnect if reason.may_reconnect else stay), reason


def test_the_keys_of_the_page_are_those_of_the_code() -> None:
    documented = set(re.findall(r"`(stomp::[a-z_]+)", page("docs/operations.md")))
    used = set(re.findall(r'"f?(stomp::[a-z_]+)', Path(keys.__file__).read_text().replace('f"', '"')))
    assert used
    assert used <= documented


def test_every_setting_that_a_page_names_exists() -> None:
    names = {name.upper() for name in Settings.model_fields} | {"API_KEY", "RLIMIT_NOFILE"}
    for path in PAGES:
        for name in re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?:=[^`]*)?`", path.read_text()):
            if "decisions" not in path.parts and path.name not in ("CHANGELOG.md", "performance.md", "chaos.md"):
                assert name in names or name in KNOWN_WORDS, f"{path.name} names {name}"


KNOWN_WORDS = {"STRING_MSG", "NOTIFY_VIEWED", "NOTIFY_DELETED", "ORDER_SHIPPED"}


def test_the_house_of_the_page_is_that_of_the_import_contract() -> None:
    section = page("docs/architecture.md").partition("## The house")[2].partition("\n## ")[0]
    rows = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in section.splitlines() if row.startswith("| `")]
    contracts = tomllib.loads(page("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert rows == [layer.split(" | ") for layer in layers]


def test_the_files_and_functions_of_the_journeys_exist() -> None:
    steps = re.findall(r"^\d+\. `(app/\S+)`: (.*)$", page("docs/journeys.md"), re.MULTILINE)
    assert steps
    for file, functions in steps:
        text = (ROOT / file).read_text()
        for name in re.findall(r"`([^`]+)`", functions):
            last = name.rpartition(".")[2]
            assert last == "<lambda>" or re.search(rf"def {re.escape(last)}\b", text), f"{file} has no {name}"
