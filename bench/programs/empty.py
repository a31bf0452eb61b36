"""A FastAPI application with one route that does nothing, served as the service is: python -m bench.programs.empty."""

import socket

import uvicorn
from fastapi import FastAPI

from app.server.server import server_config
from app.settings import Settings

app = FastAPI()


@app.post("/empty")
async def empty() -> None:
    pass


@app.get("/readyz")
async def ready() -> None:
    pass


def main() -> None:
    settings = Settings()
    with socket.create_server((settings.host, settings.port), backlog=2048) as listener:
        print(f"listening on http://{settings.host}:{listener.getsockname()[1]}", flush=True)  # noqa: T201
        uvicorn.Server(server_config(app, settings)).run(sockets=[listener])


if __name__ == "__main__":
    main()
