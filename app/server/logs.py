"""The logging configuration: target, format and levels."""

import logging.config
from typing import Literal

NOISY = ('%s - "WebSocket', "connection open", "connection closed")
BAD_UTF8 = "Invalid UTF-8 sequence received from client."


class ConnectionNoise(logging.Filter):
    """Drop uvicorn's lines about each WebSocket, because the gateway logs the life of sessions in more detail.

    Log a text message that is not UTF-8 as INFO without a traceback, because it is an error of the client.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg == BAD_UTF8:
            record.exc_info, record.levelno, record.levelname = None, logging.INFO, "INFO"
        return not str(record.msg).startswith(NOISY)


def configure_logging(*, level: str, format: Literal["text", "json"]) -> None:
    """Configure logging for this process. Raises ValueError for an invalid level or format."""
    logging.config.dictConfig(logging_config(level=level, format=format))
    # From "Optimization" in Python's logging HOWTO: no format uses the thread or the line of code.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def logging_config(*, level: str, format: Literal["text", "json"]) -> dict[str, object]:
    """Return the argument of `logging.config.dictConfig`: all records to standard error, one line each.

    With the format `json`, a line is one JSON object.
    """
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
