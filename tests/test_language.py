"""Plain English: the worst old terms stay out of docstrings, comments, identifiers and pages.

Each pattern has the word to use instead. `NOT_YET` names what is still to be rewritten; the list only gets shorter.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("app", "bench", "deploy", "alembic")
TERMS = {
    r"\bwhoever\b|\bnobody\b": "name the user, client, session or node",
    r"(?:^|[.:;] )Who (?:is|has|may|can|comes|does)\b": "name the user, client, session or node",
    r"\b(?:he|his|him)\b": "the user, they",
    r"\blost for ever\b|\bfor ever\b": "dropped, forever",
    r"\bis no more\b|\bare no more\b": "has ended",
    r"\b(?:let|lets|letting) go of\b": "drop, release, expire",
    r"\bthat is none\b|\bis none\b(?=:| here)": "invalid",
    r"\bamid\b": "in the middle of",
    r"\bso many as\b": "at most",
    r"\blook(?:s|ed)? at what\b": "check",
    r"\bcut off\b": "closed, disconnected",
    r"\bthe operators have been told\b": "say only what is true",
}
NAMES = {
    r"(?i)\bpatience_s\b": "timeout_s",
    r"\b(?:Letter|Lane|Loan|Borrowed|Borrowing|Lending|Parcel)\b": "a term of the proxy protocol",
    r"\bon_lapse\b": "on_lease_lost",
    r"\bGOING\b": "SERVICE_RESTART",
}
NOT_YET: frozenset[str] = frozenset()


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """Return the docstrings and comments of a file, each with its line."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield getattr(node, "lineno", 1), docstring
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def package_of(path: Path) -> str:
    return "/".join(path.relative_to(ROOT).parts[:2])


def found() -> dict[str, list[str]]:
    """Return what is to be rewritten, by package."""
    problems: dict[str, list[str]] = {}
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        own = [
            f"{path.relative_to(ROOT)}:{line}: {match[0]!r} → {better}"
            for line, text in prose_of(path)
            for pattern, better in TERMS.items()
            if (match := re.search(pattern, text, re.MULTILINE))
        ]
        own += [
            f"{path.relative_to(ROOT)}: {match[0]!r} → {better}"
            for pattern, better in NAMES.items()
            if (match := re.search(pattern, path.read_text()))
        ]
        if own:
            problems.setdefault(package_of(path), []).extend(own)
    return problems


def test_old_terms_stay_out_of_the_code() -> None:
    problems = found()
    assert [line for package, lines in problems.items() if package not in NOT_YET for line in lines] == []
    assert NOT_YET - problems.keys() == frozenset(), "these are done: delete them from NOT_YET"


PAGES = sorted([ROOT / "README.md", *(page for page in (ROOT / "docs").glob("*.md") if page.name != "chaos.md")])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_old_terms_stay_out_of_the_pages(path: Path) -> None:
    text = path.read_text()
    assert [match[0] for pattern in TERMS for match in re.finditer(pattern, text, re.MULTILINE)] == []
