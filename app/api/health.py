"""Health routes, for the probes of Kubernetes."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from app.api.dependencies import RuntimeDep
from app.api.problems import responses
from app.errors import Unavailable
from app.version import VERSION

router = APIRouter(tags=["Health"])


class Health(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok", "version": VERSION}})

    status: Literal["ok"] = "ok"
    version: str = VERSION


class Readiness(BaseModel):
    """`degraded`: Redis is unavailable. Sessions stay and reads go on; pushes are refused until Redis is back."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ready", "node": "notify-1", "sessions": 12}})

    status: Literal["ready", "degraded"]
    node: str
    sessions: int


@router.get("/healthz", summary="Is the process alive?")
async def health() -> Health:
    """Liveness probe: responds as long as the event loop runs."""
    return Health()


@router.get("/readyz", summary="Can it take work?", responses=responses(Unavailable))
async def readiness(runtime: RuntimeDep) -> Readiness:
    """Readiness probe: the service has started and is not shutting down.

    A node without Redis or PostgreSQL stays ready: all nodes have lost it, and a 503 with `Retry-After` tells callers
    more than no response. A node without its SQLite file is not ready, because other nodes do not depend on that file.
    """
    if runtime.gateway.draining:
        raise Unavailable("the service is shutting down")
    runtime.database.require_file()
    status: Literal["ready", "degraded"] = "ready" if runtime.backplane.relay.is_up else "degraded"
    return Readiness(status=status, node=runtime.backplane.node, sessions=len(runtime.hub))
