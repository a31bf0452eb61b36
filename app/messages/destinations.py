"""The destinations of the service."""

import re

USER_PREFIX = "/user/"
APP_PREFIX = "/app/"
TOPIC_PREFIX = "/topic/"

USER_MESSAGES = "/user/queue/msg"
USER_ERRORS = "/user/queue/errors"
TOPIC_MESSAGES = "/topic/messages"
APP_ACK = "/app/ack"
APP_SEND_MESSAGE = "/app/sendMessage"

MAX_TOPIC_LENGTH = 255
_WILDCARD = re.compile("[*#>]")  # of Spring, RabbitMQ and ActiveMQ


def topic_problem(destination: str) -> str | None:
    """What is wrong with `/topic/<name>`, as a sentence, or None."""
    name = destination.removeprefix(TOPIC_PREFIX)
    if not name or name == destination:
        return f"a topic has the form {TOPIC_PREFIX}<name>"
    if len(destination) > MAX_TOPIC_LENGTH:
        return f"a topic has at most {MAX_TOPIC_LENGTH} characters"
    if not name.isprintable():
        return "a topic must not contain control characters"
    if found := _WILDCARD.search(name):
        return f"a topic must not contain {found[0]!r}, a wildcard: exact topics only"
    if name.startswith(TOPIC_PREFIX):
        return f"name the topic without {TOPIC_PREFIX!r}: {name.removeprefix(TOPIC_PREFIX)[:128]!r}"
    return None
