"""Examples of a page of the documentation, run as they are printed there."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.service import Server, running

DOCS = Path(__file__).parents[2] / "docs"


class Recipes:
    """`files` by name, and `targets` of `serve --app`, in the order of the page."""

    def __init__(self, page: str) -> None:
        text = (DOCS / page).read_text()
        self.files: Mapping[str, str] = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", text, re.DOTALL))
        self.targets: Sequence[str] = re.findall(r"stomp-notify serve --app (\S+)", text)

    @contextmanager
    def served(self, target: str, ready_path: str = "/readyz") -> Iterator[Server]:
        with running(Server(arguments=("serve", "--app", target), files=self.files), ready_path) as server:
            yield server
