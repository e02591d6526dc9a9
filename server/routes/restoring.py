"""`/api/libraries/{id}/restore-points` and `.../restore`: a library as it was."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from auth.errors import Forbidden
from auth.permissions import may_write
from server.problems import fails
from server.restorer import Restored, Restorer
from server.routes.asking import SIGNED_IN, Asking, Served
from server.routes.at import WRITES
from server.routes.body import StrictRoute
from server.routes.prompt_bodies import MomentText
from server.routes.texts import Body, Id
from storage import libraries
from storage.errors import NotFound
from storage.libraries import Library

_LARGEST = 2**63 - 1


class PointView(BaseModel):
    """A restore point."""

    point: int = Field(description="names it: the seq up to which it holds everything")
    at: datetime = Field(description="when it was made; the library was so at that time")
    bytes: int
    pinned: bool = Field(description="kept before a restore, and not thinned out with time")


class PointList(BaseModel):
    """The restore points, newest first."""

    points: list[PointView]


class RestoreBody(Body):
    """What to go back to: a restore point, or a moment."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"at": "2026-11-22T12:00:00Z"}]})

    point: Annotated[StrictInt, Field(ge=1, le=_LARGEST)] | None = None
    at: MomentText | None = Field(None, description="as near before it as what is kept still reaches")

    @model_validator(mode="after")
    def _one(self) -> "RestoreBody":
        if (self.point is None) == (self.at is None):
            raise PydanticCustomError("one_of", "takes either `point` or `at`")
        return self

    @property
    def wanted(self) -> int | datetime:
        """Whichever was given."""
        wanted = self.at if self.point is None else self.point
        assert wanted is not None  # noqa: S101  # checked above; tells the type checker
        return wanted


class PromptName(BaseModel):
    """A prompt that changes."""

    id: str
    title: str


class SomePrompts(BaseModel):
    """How many there are, and the first of them."""

    count: int
    prompts: list[PromptName]


class ChangesView(BaseModel):
    """What changes."""

    brought_back: SomePrompts
    binned: SomePrompts = Field(description="made since: in the bin, not gone")
    changed: SomePrompts
    others: dict[str, int] = Field(description="how many entries of the other sections")


class RestoredView(BaseModel):
    """What was restored, or would be."""

    point: int = Field(description="the last seq of the state that it goes back to")
    as_of: datetime = Field(description="when the library was so")
    changes: ChangesView
    seq: int | None = Field(description="where it is committed; null for a preview")
    undo: int | None = Field(description="the restore point of the state before; null for a preview")


def restoring_router(restorer: Restorer) -> APIRouter:
    """The routes, over what restores the libraries of this server."""
    router = APIRouter(prefix="/api/libraries/{library_id}", tags=["libraries"], route_class=StrictRoute)

    @router.get("/restore-points", responses=fails(forbidden=403, not_found=404, invalid_request=422, **SIGNED_IN))
    async def points(library_id: Id, asking: Asking, services: Served) -> PointList:
        """What the library can go back to.

        For a day a point of each hour in which it was folded, for a month one a day, and what was kept before restores.
        """
        await _writable(services, library_id, asking.user.id)
        found = await restorer.points(library_id)
        return PointList(points=[PointView(point=each.seq, at=each.created_at, bytes=each.bytes, pinned=each.pinned) for each in found])

    @router.post("/restore", responses=fails(too_many_attempts=429, **WRITES), response_model=RestoredView)
    async def restore(
        library_id: Id,
        body: RestoreBody,
        asking: Asking,
        services: Served,
        preview: Annotated[bool, Query(description="only say what would change")] = False,
    ) -> dict[str, Any]:
        """Make the library what it was, as an edit that all devices receive.

        What was made since goes into the bin, and versions stay in their prompts' histories: nothing is destroyed.
        """
        library = await _writable(services, library_id, asking.user.id)
        if preview:
            return _shown(await restorer.preview(library, body.wanted))
        await services.limits.restore(asking.user.id)
        return _shown(await restorer.restore(library, body.wanted, session_id=asking.session_id))

    return router


def _shown(restored: Restored) -> dict[str, Any]:
    return {
        "point": restored.point,
        "as_of": restored.as_of,
        "changes": restored.changes,
        "seq": restored.seq,
        "undo": restored.undo,
    }


async def _writable(services: Served, library_id: UUID, user_id: UUID) -> Library:
    """The library. Raises NotFound, Forbidden."""
    async with services.database.acquire() as connection:
        library = await libraries.for_user(connection, library_id, user_id)
    if library is None:
        raise NotFound
    if not may_write(library.role):
        raise Forbidden
    return library
