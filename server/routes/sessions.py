"""`/api/auth/sessions`: where a user is signed in, and how one ends that."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from server.problems import fails
from server.routes.asking import SIGNED_IN, Asking, Served
from server.routes.body import StrictRoute
from server.routes.texts import Id
from storage import session_list
from storage.errors import NotFound
from storage.session_list import LiveSession

router = APIRouter(prefix="/api/auth/sessions", tags=["auth"], route_class=StrictRoute)


class SessionDevice(BaseModel):
    """A device, as it named itself when it signed in."""

    id: UUID
    name: str
    platform: str


class SessionView(BaseModel):
    """One session."""

    id: UUID
    device: SessionDevice
    created_at: datetime
    last_used_at: datetime = Field(description="to the minute for sockets; else when its tokens were refreshed, or first used after that")
    last_used_from: str = Field(description="the address that was used from then")
    user_agent: str = Field(description="what the client called itself when it signed in")
    method: str = Field(description="what was shown to sign in: `password`, or the name of a provider")
    authenticated_at: datetime = Field(description="when that, or another proof, was shown last")
    expires_at: datetime = Field(description="when it ends in any case")
    current: bool = Field(description="whether it is the one that asks")

    @classmethod
    def of(cls, session: LiveSession, *, asking: UUID | None) -> "SessionView":
        return cls(
            id=session.id,
            device=SessionDevice(id=session.device_id, name=session.device_name, platform=session.platform),
            created_at=session.created_at,
            last_used_at=session.last_seen_at,
            last_used_from=session.address,
            user_agent=session.user_agent,
            method=session.method,
            authenticated_at=session.authenticated_at,
            expires_at=session.expires_at,
            current=session.id == asking,
        )


class SessionList(BaseModel):
    """Every session of a user that is not over, the one used last first."""

    sessions: list[SessionView]


@router.get("", responses=fails(**SIGNED_IN))
async def list_all(asking: Asking, services: Served) -> SessionList:
    """Where the asking user is signed in: one session a device."""
    async with services.database.acquire() as connection:
        found = await session_list.live(connection, asking.user.id, now=services.clock())
    return SessionList(sessions=[SessionView.of(session, asking=asking.session_id) for session in found])


@router.delete("/{session_id}", status_code=204, responses=fails(not_found=404, **SIGNED_IN))
async def end(session_id: Id, asking: Asking, request: Request, services: Served) -> Response:
    """End one of the asking user's sessions: its tokens are refused from now on, and its sockets are closed."""
    if not await services.endings.end_one(asking, session_id, now=services.clock(), caller=services.caller_of(request)):
        raise NotFound
    return Response(status_code=204)
