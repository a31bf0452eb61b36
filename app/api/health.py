"""What Kubernetes asks."""

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
    """`degraded`: sessions stay and reads go on, but Redis is away and pushes are refused until it is back."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ready", "node": "notify-1", "sessions": 12}})

    status: Literal["ready", "degraded"]
    node: str
    sessions: int


@router.get("/healthz", summary="Is the process alive?")
async def health() -> Health:
    """For the liveness probe: it answers as long as the event loop turns."""
    return Health()


@router.get("/readyz", summary="Can it take work?", responses=responses(Unavailable))
async def readiness(runtime: RuntimeDep) -> Readiness:
    """For the readiness probe: the service has started, and is not about to end.

    A node without Redis or PostgreSQL stays in the balancer: all nodes have lost it, and a refusal with `Retry-After`
    tells a caller more than no answer. A SQLite file is of one node, so without it the node is not ready.
    """
    if runtime.gateway.draining:
        raise Unavailable("the service is about to end")
    runtime.database.require_file()
    status: Literal["ready", "degraded"] = "ready" if runtime.backplane.relay.is_up else "degraded"
    return Readiness(status=status, node=runtime.backplane.node, sessions=len(runtime.hub))
