"""What a sign-in brings and is answered with: the device, and its tokens. Shared by every way of signing in."""

from typing import Literal
from uuid import UUID

from fastapi import Request, Response
from pydantic import BaseModel, Field

from auth.sessions import Device, Grant
from server.routes.texts import Body, Id, Name
from server.routes.users import UserView
from server.services import Services

UNNAMED = "unnamed device"


class DeviceBody(Body):
    """The device that signs in. Its id is minted by the client once, and kept: a new login replaces its session."""

    id: Id
    name: Name = UNNAMED
    platform: Name = "unknown"


class GrantView(BaseModel):
    """Tokens. Store the refresh token durably before the access token is first used."""

    access_token: str = Field(description="for REST, in `Authorization: Bearer`, and for opening sockets")
    refresh_token: str = Field(description="for `POST /api/auth/refresh`, once")
    sync_token: str = Field(description="for opening sockets, as long as the session lasts")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  # a scheme, not a secret
    expires_in: int = Field(description="seconds the access token is good for")
    library_id: UUID = Field(description="the user's own library")
    user: UserView


def device_of(body: DeviceBody | None, request: Request, services: Services) -> Device:
    """The device that signs in with this request; one of a new id where the client names none."""
    caller = services.caller_of(request)
    return Device(
        id=body.id if body else UUID(bytes=services.random(16), version=4),
        name=body.name if body else UNNAMED,
        platform=body.platform if body else "unknown",
        user_agent=caller.user_agent,
        address=caller.address,
    )


def answer_with(grant: Grant, request: Request, response: Response, services: Services) -> GrantView:
    """The answer that gives this session its tokens."""
    response.headers["Cache-Control"] = "no-store"
    return GrantView(
        access_token=grant.access_token,
        refresh_token=grant.refresh_token,
        sync_token=grant.sync_token,
        expires_in=grant.expires_in,
        library_id=grant.user.library_id,
        user=UserView.of(grant.user),
    )
