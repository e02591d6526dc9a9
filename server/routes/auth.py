"""`/api/auth`: registering, signing in, carrying on, signing out."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from auth.endings import Scope
from auth.sessions import Device, Grant
from server.problems import fails
from server.routes.asking import SIGNED_IN, Served, TokenIfAny
from server.routes.body import StrictRoute
from server.routes.texts import Body, Email, Id, Name, Password, RefreshToken
from server.routes.users import UserView
from server.services import Services

router = APIRouter(prefix="/api/auth", tags=["auth"], route_class=StrictRoute)

UNNAMED = "unnamed device"
_FORM = {"malformed_json": 400, "too_large": 413, "unsupported_media_type": 415, "invalid_request": 422}
_LATER = {"busy": 503, "unavailable": 503}


class DeviceBody(Body):
    """The device that signs in. Its id is minted by the client once, and kept: a new login replaces its session."""

    id: Id
    name: Name = UNNAMED
    platform: Name = "unknown"


class LoginBody(Body):
    """An address and its password; without a device the server mints one for this session."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"email": "ada@example.com", "password": "correct horse battery"}]})

    email: Email
    password: Password
    device: DeviceBody | None = None


class RegisterBody(LoginBody):
    """Without a name, the part of the address before the @ serves."""

    name: Name | None = None


class RefreshBody(Body):
    """The refresh token that was handed out last."""

    refresh_token: RefreshToken


class LogoutBody(Body):
    """Which sessions end: this one, the user's others, or all of them."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"scope": "others"}]})

    scope: Scope = Scope.LOCAL
    refresh_token: Annotated[
        RefreshToken | None, Field(description="of this session: it will do where the access token's time is over")
    ] = None


class GrantView(BaseModel):
    """Tokens. Store the refresh token durably before the access token is first used."""

    access_token: str = Field(description="for REST, in `Authorization: Bearer`, and for opening sockets")
    refresh_token: str = Field(description="for `POST /api/auth/refresh`, once")
    sync_token: str = Field(description="for opening sockets, as long as the session lasts")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  # a scheme, not a secret
    expires_in: int = Field(description="seconds the access token is good for")
    library_id: UUID = Field(description="the user's own library")
    user: UserView


@router.post("/register", status_code=201, responses=fails(email_taken=409, weak_password=422, too_many_attempts=429, **_FORM, **_LATER))
async def register(body: RegisterBody, request: Request, response: Response, services: Served) -> GrantView:
    """Make an account with a library of its own, and sign this device in."""
    address = services.address_of(request)
    await services.limits.attempt(address)
    grant = await services.accounts.register(
        email=body.email,
        password=body.password,
        name=body.name,
        device=_device(body.device, request, services),
        now=services.clock(),
    )
    return _view(grant, response)


@router.post("/login", responses=fails(invalid_credentials=401, too_many_attempts=429, **_FORM, **_LATER))
async def login(body: LoginBody, request: Request, response: Response, services: Served) -> GrantView:
    """Sign this device in; its earlier session, if it has one, ends."""
    address = services.address_of(request)
    await services.limits.attempt(address)
    await services.limits.login(body.email, address)
    grant = await services.accounts.login(
        email=body.email,
        password=body.password,
        device=_device(body.device, request, services),
        now=services.clock(),
    )
    await services.limits.succeeded(body.email, address)
    return _view(grant, response)


@router.post("/refresh", responses=fails(invalid_refresh_token=401, session_ended=401, unavailable=503, **_FORM))
async def refresh(body: RefreshBody, request: Request, response: Response, services: Served) -> GrantView:
    """Exchange a refresh token for new tokens. Repeating it while nobody used the new ones gives the same refresh token again."""
    grant = await services.sessions.refresh(body.refresh_token, now=services.clock(), caller=services.caller_of(request))
    return _view(grant, response)


@router.post("/logout", status_code=204, responses=fails(invalid_refresh_token=401, **SIGNED_IN, **_FORM))
async def logout(token: TokenIfAny, request: Request, services: Served, body: LogoutBody | None = None) -> Response:
    """End this session, the user's others, or all; repeating it changes nothing. A refresh token will do where no access token is good."""
    asked = body or LogoutBody()
    await services.endings.log_out(
        token, refresh_token=asked.refresh_token, scope=asked.scope, now=services.clock(), caller=services.caller_of(request)
    )
    return Response(status_code=204)


def _device(body: DeviceBody | None, request: Request, services: Services) -> Device:
    caller = services.caller_of(request)
    return Device(
        id=body.id if body else UUID(bytes=services.random(16), version=4),
        name=body.name if body else UNNAMED,
        platform=body.platform if body else "unknown",
        user_agent=caller.user_agent,
        address=caller.address,
    )


def _view(grant: Grant, response: Response) -> GrantView:
    response.headers["Cache-Control"] = "no-store"
    return GrantView(
        access_token=grant.access_token,
        refresh_token=grant.refresh_token,
        sync_token=grant.sync_token,
        expires_in=grant.expires_in,
        library_id=grant.user.library_id,
        user=UserView.of(grant.user),
    )
