"""`/api/auth`: registering, signing in, carrying on, signing out."""

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field

from auth import refresh_tokens
from auth.endings import Scope
from auth.errors import InvalidRefreshToken, SessionEnded
from server.problems import fails
from server.routes import registrations
from server.routes.asking import SIGNED_IN, Served, Speaking, TokenIfAny
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
from server.routes.mailboxes import Accepted
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
    response_model=GrantView,
    responses={
        202: {"model": Accepted, "description": "where addresses are verified first: a mail is on its way, whoever has the address"},
        **fails(email_taken=409, weak_password=422, too_many_attempts=429, **_FORM, **_LATER, **IN_COOKIE_FAILS),
    },
)
async def register(body: RegisterBody, request: Request, response: Response, speaking: Speaking, services: Served) -> GrantView | Response:
    """Make an account with a library of its own, and sign this device in; or, where addresses are verified first, mail a token for that."""
    address = services.address_of(request)
    await services.limits.registration(address)
    if services.settings.verifies_first:
        return await registrations.ask(body.email, body.password, body.name, request, speaking, services)
    grant = await services.accounts.register(
        email=body.email,
        password=body.password,
        name=body.name,
        device=device_of(body.device, request, services),
        now=services.clock(),
        language=await registrations.verification_for(body.email, address, speaking, services),
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
    tried = await services.limits.login(body.email, address, body.device.id if body.device else None)
    grant = await services.accounts.login(
        email=body.email,
        password=body.password,
        device=device_of(body.device, request, services),
        now=services.clock(),
    )
    await services.limits.succeeded(tried)
    return answer_with(grant, request, response, services)


@router.post(
    "/refresh",
    dependencies=[IN_COOKIE],
    responses=fails(invalid_refresh_token=401, session_ended=401, too_many_attempts=429, unavailable=503, **_FORM, **IN_COOKIE_FAILS),
)
async def refresh(body: RefreshBody, request: Request, response: Response, services: Served) -> GrantView:
    """Exchange a refresh token for new tokens. Repeating it while nobody used the new ones gives the same refresh token again."""
    token = body.refresh_token or refresh_by_cookie(request, services)
    if token is None:
        raise InvalidRefreshToken
    await services.limits.refresh(refresh_tokens.parse(token).session_id, services.address_of(request))
    grant = await services.sessions.refresh(token, now=services.clock(), caller=services.caller_of(request))
    return answer_with(grant, request, response, services)


@router.post("/logout", status_code=204, responses=fails(invalid_refresh_token=401, **SIGNED_IN, **_FORM, **IN_COOKIE_FAILS))
async def logout(token: TokenIfAny, request: Request, services: Served, body: LogoutBody | None = None) -> Response:
    """End this session, the user's others, or all; repeating it changes nothing. A refresh token will do where no access token is good."""
    asked = body or LogoutBody()
    refresh_token = asked.refresh_token or refresh_by_cookie(request, services, needed=token is None)
    await services.endings.log_out(
        token, refresh_token=refresh_token, scope=asked.scope, now=services.clock(), caller=services.caller_of(request)
    )
    answer = Response(status_code=204)
    if asked.scope is Scope.OTHERS:
        return answer
    forget_cookie(request, answer)
    if token is not None and refresh_token is not None and asked.refresh_token is None:
        # the cookie may be of another session than the token, that of a tab which signed in later: once forgotten it must not live on
        with suppress(InvalidRefreshToken, SessionEnded):
            await services.endings.log_out(None, refresh_token=refresh_token, now=services.clock(), caller=services.caller_of(request))
    return answer
