"""`/api/auth`: registering, signing in, carrying on, signing out."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field

from auth.endings import Scope
from server.problems import fails
from server.routes.asking import SIGNED_IN, Served, TokenIfAny
from server.routes.body import StrictRoute
from server.routes.grants import IN_COOKIE, IN_COOKIE_FAILS, DeviceBody, GrantView, answer_with, device_of, presented
from server.routes.texts import Body, Email, Name, Password, RefreshToken

router = APIRouter(prefix="/api/auth", tags=["auth"], route_class=StrictRoute)

_FORM = {"malformed_json": 400, "too_large": 413, "unsupported_media_type": 415, "invalid_request": 422}
_LATER = {"busy": 503, "unavailable": 503}


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
    """The refresh token that was handed out last; without it the one in the cookie serves."""

    refresh_token: RefreshToken | None = None


class LogoutBody(Body):
    """Which sessions end: this one, the user's others, or all of them."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"scope": "others"}]})

    scope: Scope = Scope.LOCAL
    refresh_token: Annotated[
        RefreshToken | None, Field(description="of this session: it will do where the access token's time is over")
    ] = None


@router.post(
    "/register",
    status_code=201,
    dependencies=[IN_COOKIE],
    responses=fails(email_taken=409, weak_password=422, too_many_attempts=429, **_FORM, **_LATER, **IN_COOKIE_FAILS),
)
async def register(body: RegisterBody, request: Request, response: Response, services: Served) -> GrantView:
    """Make an account with a library of its own, and sign this device in."""
    address = services.address_of(request)
    await services.limits.attempt(address)
    grant = await services.accounts.register(
        email=body.email,
        password=body.password,
        name=body.name,
        device=device_of(body.device, request, services),
        now=services.clock(),
    )
    return answer_with(grant, request, response, services)


@router.post(
    "/login",
    dependencies=[IN_COOKIE],
    responses=fails(invalid_credentials=401, too_many_attempts=429, **_FORM, **_LATER, **IN_COOKIE_FAILS),
)
async def login(body: LoginBody, request: Request, response: Response, services: Served) -> GrantView:
    """Sign this device in; its earlier session, if it has one, ends."""
    address = services.address_of(request)
    await services.limits.attempt(address)
    await services.limits.login(body.email, address)
    grant = await services.accounts.login(
        email=body.email,
        password=body.password,
        device=device_of(body.device, request, services),
        now=services.clock(),
    )
    await services.limits.succeeded(body.email, address)
    return answer_with(grant, request, response, services)


@router.post(
    "/refresh",
    dependencies=[IN_COOKIE],
    responses=fails(invalid_refresh_token=401, session_ended=401, unavailable=503, **_FORM, **IN_COOKIE_FAILS),
)
async def refresh(body: RefreshBody, request: Request, response: Response, services: Served) -> GrantView:
    """Exchange a refresh token for new tokens. Repeating it while nobody used the new ones gives the same refresh token again."""
    grant = await services.sessions.refresh(
        presented(body.refresh_token, request, services).token, now=services.clock(), caller=services.caller_of(request)
    )
    return answer_with(grant, request, response, services)


@router.post("/logout", status_code=204, responses=fails(invalid_refresh_token=401, **SIGNED_IN, **_FORM))
async def logout(token: TokenIfAny, request: Request, services: Served, body: LogoutBody | None = None) -> Response:
    """End this session, the user's others, or all; repeating it changes nothing. A refresh token will do where no access token is good."""
    asked = body or LogoutBody()
    await services.endings.log_out(
        token, refresh_token=asked.refresh_token, scope=asked.scope, now=services.clock(), caller=services.caller_of(request)
    )
    return Response(status_code=204)
