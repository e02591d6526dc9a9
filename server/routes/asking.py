"""Who asks, and what the handlers are given: the dependencies that routes share."""

from functools import partial
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from auth.errors import InvalidToken, NotAuthenticated
from auth.mail import Language
from auth.sessions import Principal, Use
from auth.tokens import Audience
from server import letters
from server.services import Services


def services_of(request: Request) -> Services:
    """The services of the application that serves this request."""
    services = request.app.state.services
    assert isinstance(services, Services)  # noqa: S101  # set by create_api; tells the type checker
    return services


def bearer_token(request: Request) -> str:
    """The token in the one Authorization header.

    Raises:
        NotAuthenticated: there is no such header, or it is of another scheme.
        InvalidToken: there are two.
    """
    values = request.headers.getlist("authorization")
    if len(values) > 1:
        raise InvalidToken("two headers")
    scheme, _, token = (values[0] if values else "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotAuthenticated
    return token.strip()


# The dependencies are coroutines, though they wait for nothing: FastAPI hands plain functions to threads. What depends on the request has
# the services from there: each dependency of a dependency costs every request 10 us, also where it is known already.


async def _services(request: Request) -> Services:
    return services_of(request)


async def _language(request: Request) -> Language:
    return letters.preferred(request.headers.get("accept-language", ""))


class BearerToken(HTTPBearer):
    """The token of the Authorization header. FastAPI's own, as the OpenAPI document shows it, would take the first of two headers."""

    def __init__(self, *, needed: bool) -> None:
        super().__init__(auto_error=False, scheme_name="HTTPBearer", bearerFormat="JWT", description="the access token")
        self._needed = needed

    async def __call__(self, request: Request) -> str | None:  # type: ignore[override]  # the token as it stands
        """The token, or None where there need not be one and is no such header. Raises as `bearer_token`."""
        return bearer_token(request) if self._needed or request.headers.getlist("authorization") else None


Served = Annotated[Services, Depends(_services)]
Speaking = Annotated[Language, Depends(_language)]
"""The language that mails because of this request are written in."""
Token = Annotated[str, Depends(BearerToken(needed=True))]
TokenIfAny = Annotated[str | None, Depends(BearerToken(needed=False))]


async def principal(request: Request, token: Token) -> Principal:
    """Who asks, by an access token whose session is alive at this moment."""
    known = getattr(request.state, "principal", None)  # asked already, with the library that the request is about
    if isinstance(known, Principal):
        return known
    services = services_of(request)
    use = Use(address=partial(services.address_of, request))
    asking = await services.sessions.authenticate(token, {Audience.ACCESS}, now=services.clock(), use=use)
    request.state.principal = asking
    return asking


Asking = Annotated[Principal, Depends(principal)]


async def recent_principal(asking: Asking, services: Served) -> Principal:
    """Who asks, having shown a short time ago that it is they.

    Raises:
        RecentLoginNeeded: that was longer ago than `recent_login_seconds`.
    """
    services.sessions.require_recent(asking, now=services.clock())
    return asking


RecentlyAsking = Annotated[Principal, Depends(recent_principal)]
SIGNED_IN = {"not_authenticated": 401, "invalid_token": 401, "token_expired": 401, "session_ended": 401, "unavailable": 503}
"""What every route that needs an access token can refuse with."""
SIGNED_IN_RECENTLY = {**SIGNED_IN, "recent_login_required": 403}
"""What a route can refuse with that takes a recent login."""
