"""Where log lines go and what they look like."""

import logging.config
from typing import Literal

NOISY = ('%s - "WebSocket', "connection open", "connection closed")
BAD_UTF8 = "Invalid UTF-8 sequence received from client."


class ConnectionNoise(logging.Filter):
    """Drops what the server says of each WebSocket: the gateway tells the life of a session better.

    A text message that is not UTF-8 is the client's fault: uvicorn's traceback of it would look like ours.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg == BAD_UTF8:
            record.exc_info, record.levelno, record.levelname = None, logging.INFO, "INFO"
        return not str(record.msg).startswith(NOISY)


def configure_logging(*, level: str, format: Literal["text", "json"]) -> None:
    """For the whole process. Raises ValueError."""
    logging.config.dictConfig(logging_config(level=level, format=format))
    # "Optimization" of Python's logging HOWTO: no line says which thread or line of code it comes from.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def logging_config(*, level: str, format: Literal["text", "json"]) -> dict[str, object]:
    """For `logging.config.dictConfig`: everything to standard error, one line a record, `json` as one object a line."""
    formatters: dict[str, object] = {
        "text": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": "%(asctime)s %(levelname)s %(name)s %(message)s",
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
            "json_ensure_ascii": False,
        },
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"connection_noise": {"()": ConnectionNoise}},
        "formatters": formatters,
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": format}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            "apscheduler": {"level": "ERROR"},
            "alembic": {"level": "WARNING"},
            "uvicorn.error": {"level": level, "filters": ["connection_noise"]},
            "httpx": {"level": "WARNING"},
        },
    }
