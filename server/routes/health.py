"""What a supervisor asks: does the process live, can it store, and what has it counted."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server import metrics
from server.services import Services
from storage.errors import StorageError
from storage.health import prove_commits

READY_SECONDS = 2.0
"""A database that has not committed within this is not ready."""


def health_routes(services: Services) -> list[Route]:
    """`/healthz`, `/readyz` and `/metrics`."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        try:
            await asyncio.wait_for(prove_commits(services.database), READY_SECONDS)
        except (StorageError, TimeoutError):
            return JSONResponse({"status": "unavailable", "reason": "the database does not commit"}, 503, {"Retry-After": "2"})
        return JSONResponse({"status": "ok"})

    async def exposition(request: Request) -> Response:
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", exposition)]
