"""Structured logs: one JSON object a line on standard output, with ids only.

Never a name, a payload or anything else written about a person, nor the text of an exception, which may quote it:
of a failure the log tells type and place. `service` is on every line; `correlation_id` and `stream` are bound once,
where a request or a batch begins.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

ROOT = Path(__file__).parent.parent
OURS = tuple(str(ROOT / room) for room in ("chassis", "contracts", "services", "ops"))

# Libraries whose messages are about connections, groups and migrations, never about what they carry. Of all others
# only logger, level and failure are told: their messages may quote a statement, a URL with its query, or a payload.
OUTSPOKEN = ("aiokafka", "alembic", "uvicorn")
SILENT = ("uvicorn.access",)  # It logs query strings; the chassis logs each request without.


def configure(service: str, level: str = "INFO") -> None:
    """Sends our log and that of every library to standard output. Called once, when a process starts."""

    def named(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
        return {**line, "service": service}

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        named,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendered = structlog.processors.JSONRenderer(sort_keys=True, default=lambda value: type(value).__name__)
    structlog.configure(
        processors=[*shared, without_traceback, rendered],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Guarded(service))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    for name in (*OUTSPOKEN, *SILENT, "uvicorn.error"):
        library = logging.getLogger(name)  # Uvicorn installs handlers of its own before it loads the app.
        library.handlers, library.propagate = [], name not in SILENT
    logging.getLogger("uvicorn.error").setLevel(level)


class Guarded(logging.Formatter):
    """A library's line, with its message only if the library is known not to quote what it handles."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        spoken = record.name.startswith(OUTSPOKEN) and error is None
        line = {
            **structlog.contextvars.get_contextvars(),
            "event": record.getMessage() if spoken else "library_reported",
            "level": record.levelname.lower(),
            "logger": record.name,
            "place": f"{record.module}:{record.lineno}",
            "service": self.service,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            **(failure(error) if error else {}),
        }
        return json.dumps(line, sort_keys=True, default=lambda value: type(value).__name__)


def without_traceback(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """A line's exception as type and place, should somebody have called `log.exception`."""
    error = line.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    return {**line, **failure(error)} if isinstance(error, BaseException) else line


def failure(error: BaseException) -> dict[str, str]:
    """Type and place of an exception: what a log may tell of it."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    told = {"error": named_type(error), "at": place(error.__traceback__)}
    if cause is not error:
        told["caused_by"] = named_type(cause)
    if sqlstate := getattr(cause, "sqlstate", None):
        told["sqlstate"] = str(sqlstate)  # PostgreSQL's own code: five characters, no text.
    return told


def named_type(error: BaseException) -> str:
    """`module.Type` of an exception."""
    return f"{type(error).__module__}.{type(error).__qualname__}"


def place(traceback: TracebackType | None) -> str:
    """`chassis/store.py:88 append`: the innermost frame of our own code, else of anybody's."""
    frames = list(frames_of(traceback))
    if not frames:
        return "unknown"
    file, line, name = next((frame for frame in reversed(frames) if frame[0].startswith(OURS)), frames[-1])
    return f"{file.removeprefix(f'{ROOT}/')}:{line} {name}"


def frames_of(traceback: TracebackType | None) -> Iterator[tuple[str, int, str]]:
    """File, line and function of each frame, outermost first."""
    while traceback:
        code = traceback.tb_frame.f_code
        yield code.co_filename, traceback.tb_lineno, code.co_name
        traceback = traceback.tb_next


def unheard(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The event loop's handler for exceptions that nobody awaited; asyncio's own would log their text."""
    error = context.get("exception")
    log.error("exception_unheard", **(failure(error) if isinstance(error, BaseException) else {}))
