"""`/api/users/me`: what happened to the asking user's account, and its end."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from auth.administration import Author
from auth.errors import SessionEnded
from server.problems import fails
from server.routes.asking import SIGNED_IN, SIGNED_IN_RECENTLY, Asking, RecentlyAsking, Served
from server.routes.body import StrictRoute
from storage import audit
from storage.audit import Entry
from storage.errors import NotFound

router = APIRouter(prefix="/api/users/me", tags=["users"], route_class=StrictRoute)

MAX_PAGE = 200
"""Entries one answer has at most. Past it: 422."""
MAX_ENTRY = (1 << 63) - 1
"""The largest id that an entry can have."""

BeforeEntry = Annotated[int | None, Query(ge=1, le=MAX_ENTRY, description="the `next_before` of the page before; without it the newest")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


class ActivityView(BaseModel):
    """Something that happened to the account."""

    id: int
    at: datetime
    event: str = Field(description="such as `signed_in`: docs/accounts-operations.md lists them, and further ones may come")
    by: str = Field(description="`user`, `admin` or `operator`, or `server` where nobody did it")
    session_id: UUID | None = Field(description="the session that did it, or that it was about")
    address: str = Field(description="where it came from; empty where it was not the user")
    user_agent: str

    @classmethod
    def of(cls, entry: Entry) -> "ActivityView":
        own = entry.actor == "user"  # where an administrator sits is not the user's business
        return cls(
            id=entry.id,
            at=entry.at,
            event=entry.event,
            by=entry.actor,
            session_id=entry.session_id if own else None,
            address=entry.address if own else "",
            user_agent=entry.user_agent if own else "",
        )


class Activity(BaseModel):
    """A page of what happened to the account, newest first."""

    entries: list[ActivityView]
    next_before: int | None = Field(description="where the next page begins; null on the last one")


@router.get("/activity", responses=fails(**SIGNED_IN))
async def activity(asking: Asking, services: Served, before: BeforeEntry = None, limit: Limit = 50) -> Activity:
    """What happened to the asking user's account: sign-ins and those that failed, changes, sessions that ended."""
    async with services.database.acquire() as connection:
        found = await audit.of_user(connection, asking.user.id, before=before, limit=limit + 1)
    shown = found[:limit]
    return Activity(entries=[ActivityView.of(entry) for entry in shown], next_before=shown[-1].id if len(found) > limit else None)


@router.delete("", status_code=204, responses=fails(last_admin=409, **SIGNED_IN_RECENTLY))
async def delete(asking: RecentlyAsking, request: Request, services: Served) -> Response:
    """Delete the account and every library that it owns, for good: nothing can be read from now on, and all sessions end."""
    author = Author(actor="user", caller=services.caller_of(request), session_id=asking.session_id)
    try:
        await services.administration.delete(asking.user.id, author, now=services.clock())
    except NotFound as error:
        raise SessionEnded from error  # another request was faster
    return Response(status_code=204)
