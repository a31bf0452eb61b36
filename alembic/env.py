"""Runs migrations on the connection that `app.db.migrations` hands over, or on DATABASE_URL for the alembic command."""

import asyncio

from alembic import context
from sqlalchemy import Connection
from sqlmodel import SQLModel

from app.db.database import Database
from app.notifications import tables
from app.settings import Settings

assert tables, "the import fills the metadata"


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


async def run_alone() -> None:
    database = Database(Settings().database_url)
    async with database.engine.begin() as connection:
        await connection.run_sync(run)
    await database.aclose()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    run(handed_over)
else:
    asyncio.run(run_alone())
