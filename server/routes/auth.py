"""`/api/auth`: registering, signing in, carrying on, signing out."""

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict

from auth.errors import InvalidRefreshToken
from server.problems import fails
from server.routes.asking import Served, Token
from server.routes.body import StrictRoute
from server.routes.grants import (
    IN_COOKIE,
    IN_COOKIE_FAILS,
    DeviceBody,
    GrantView,
    answer_with,
    device_of,
    forget_cookie,
    refresh_by_cookie,
)
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
    token = body.refresh_token or refresh_by_cookie(request, services)
    if token is None:
        raise InvalidRefreshToken
    grant = await services.sessions.refresh(token, now=services.clock(), caller=services.caller_of(request))
    return answer_with(grant, request, response, services)


@router.post("/logout", status_code=204, responses=fails(not_authenticated=401, invalid_token=401, token_expired=401, unavailable=503))
async def logout(token: Token, request: Request, services: Served) -> Response:
    """End the session of this access token; repeating it changes nothing."""
    refresh_by_cookie(request, services, needed=False)
    await services.sessions.end(token, now=services.clock(), caller=services.caller_of(request))
    answer = Response(status_code=204)
    forget_cookie(request, answer)
    return answer
