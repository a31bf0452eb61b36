"""The whole service on a real port, and raw connections to it."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from app.main import create_app
from app.runtime.runtime import Runtime
from tests.api.service import settings
from tests.databases import migrated_database
from tests.transports.serving import serving


@dataclass(frozen=True)
class Running:
    port: int
    runtime: Runtime


@asynccontextmanager
async def open_service(**options: Any) -> AsyncIterator[Running]:
    """Run the service. `options` are settings."""
    with migrated_database("sqlite") as url:
        chosen = settings(database_url=url, **options)
        app = create_app(chosen)
        async with serving(app, settings=chosen, lifespan="on") as port:
            yield Running(port, app.state.runtime)


@asynccontextmanager
async def ask(port: int, request: bytes = b"") -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    """Open a connection and send `request`. The connection is reset at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        yield reader, writer
    finally:
        writer.transport.abort()
