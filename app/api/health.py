"""What Kubernetes asks."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from app.api.dependencies import RuntimeDep
from app.version import VERSION

router = APIRouter(tags=["Health"])


class Health(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok", "version": VERSION}})

    status: Literal["ok"] = "ok"
    version: str = VERSION


class Readiness(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"status": "ready", "sessions": 12}})

    status: Literal["ready"] = "ready"
    sessions: int


@router.get("/healthz", summary="Is the process alive?")
async def health() -> Health:
    """For the liveness probe: it answers as long as the event loop turns."""
    return Health()


@router.get("/readyz", summary="Can it take work?")
async def readiness(runtime: RuntimeDep) -> Readiness:
    """For the readiness probe: the service has started, and all that it needs is there."""
    return Readiness(sessions=len(runtime.hub))
