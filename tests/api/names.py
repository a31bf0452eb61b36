"""Names on their way to the service, for the tests of the rule for names."""

from typing import Any
from urllib.parse import quote

import jwt

from app.messages.message import NotifyMessage
from app.timing.clock import SystemClock
from tests.api.service import SECRET, problem


def in_url(name: str) -> str:
    """Percent-encoded, the dots too: a client would otherwise remove them."""
    return quote(name, safe="").replace(".", "%2E")


def bearer(user: str) -> str:
    """A token that somebody else made: without a look at the user id."""
    return jwt.encode({"sub": user, "exp": SystemClock().epoch_ms() // 1000 + 600}, SECRET, "HS256")


def message_to(receiver: str) -> NotifyMessage:
    return NotifyMessage("m1", "STRING_MSG", receiver, "hello", False, SystemClock().epoch_ms())


def detail(answer: Any, status: int = 422) -> str:
    return str(problem(answer, status)["detail"])
