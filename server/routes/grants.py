"""What a sign-in brings and is answered with: the device, and its tokens. Shared by every way of signing in.

A page may have its refresh token in a cookie (`server/cookies.py`). Routes that sign in have `dependencies=[IN_COOKIE]` and
`fails(**IN_COOKIE_FAILS)`; `answer_with` does the rest.
"""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel, Field

from auth.sessions import Device, Grant
from server.cookies import clear_refresh_cookie, refresh_cookie, set_refresh_cookie, wants_cookie
from server.cross_site import require_own_page
from server.errors import CrossSite
from server.routes.asking import Served
from server.routes.texts import Body, Id, Name
from server.routes.users import UserView
from server.services import Services

UNNAMED = "unnamed device"
IN_COOKIE_FAILS = {"cross_site": 403}
"""What a route can refuse with that sets the cookie, or reads it."""


class DeviceBody(Body):
    """The device that signs in. Its id is minted by the client once, and kept: a new login replaces its session."""

    id: Id
    name: Name = UNNAMED
    platform: Name = "unknown"


class GrantView(BaseModel):
    """Tokens. Store the refresh token durably before the access token is first used."""

    access_token: str = Field(description="for REST, in `Authorization: Bearer`, and for opening sockets")
    refresh_token: str | None = Field(None, description="for `POST /api/auth/refresh`, once; null where it is in the cookie")
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


async def _in_cookie(
    request: Request,
    services: Served,
    x_session_mode: Annotated[
        Literal["cookie"] | None, Header(description="`cookie`: the refresh token goes into a cookie that no script can read, for pages")
    ] = None,
) -> None:
    if x_session_mode is not None:
        require_own_page(request.headers, services.settings)


IN_COOKIE = Depends(_in_cookie)
"""Asks, before anything is done, whether a page that wants a cookie may have one."""


def refresh_by_cookie(request: Request, services: Services, *, needed: bool = True) -> str | None:
    """The refresh token that the browser has sent along; None where there is none, or where it is not needed and may not be used.

    Raises:
        InvalidRefreshToken: there are two of them.
        CrossSite: a page that may not use it has asked.
    """
    try:
        if (token := refresh_cookie(request.headers)) is not None:
            require_own_page(request.headers, services.settings)
            request.state.refresh_by_cookie = True  # the answer sets or clears it
    except CrossSite:
        if needed:
            raise
        return None
    return token


def forget_cookie(request: Request, response: Response) -> None:
    """Have the browser forget the cookie that came with this request: its session is over."""
    if getattr(request.state, "refresh_by_cookie", False):
        clear_refresh_cookie(response)


def answer_with(grant: Grant, request: Request, response: Response, services: Services) -> GrantView:
    """The answer that gives this session its tokens; the refresh token in the cookie where the page asks for that, or has sent it so.

    Raises:
        CrossSite: the page may have no cookie of ours; `IN_COOKIE` has told it so before.
    """
    response.headers["Cache-Control"] = "no-store"
    in_cookie = wants_cookie(request.headers) or getattr(request.state, "refresh_by_cookie", False)
    if in_cookie:
        require_own_page(request.headers, services.settings)
        set_refresh_cookie(response, grant.refresh_token, services.settings)
    return GrantView(
        access_token=grant.access_token,
        refresh_token=None if in_cookie else grant.refresh_token,
        sync_token=grant.sync_token,
        expires_in=grant.expires_in,
        library_id=grant.user.library_id,
        user=UserView.of(grant.user),
    )
