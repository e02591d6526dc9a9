"""`/api/auth/social/google`: signing in with Google (docs/accounts-social.md)."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, StringConstraints
from starlette.responses import RedirectResponse

from auth.errors import InvalidState
from auth.google import Departure, Return
from auth.id_tokens import MAX_CHARACTERS as MAX_TOKEN_CHARACTERS
from auth.mail import Language
from auth.social_states import LIFETIME
from auth.social_states import MAX_CHARACTERS as MAX_STATE_CHARACTERS
from server import social_cookie
from server.cross_site import require_own_page
from server.google import CALLBACK_PATH
from server.problems import fails
from server.routes.asking import Served, Speaking
from server.routes.body import StrictRoute
from server.routes.grants import IN_COOKIE, IN_COOKIE_FAILS, DeviceBody, GrantView, answer_with, device_of
from server.routes.texts import Body
from server.services import Services

router = APIRouter(prefix="/api/auth/social/google", tags=["auth"], route_class=StrictRoute)
# Google's page sends more along than we ask for, and may send anything tomorrow.
callback_router = APIRouter(tags=["auth"])

MAX_CODE_CHARACTERS = 2048
"""Of an authorization code; Google's have under 256 (its guide to OAuth 2.0). Past it: 422."""
MAX_NONCE_CHARACTERS = 255
MAX_ISSUER_CHARACTERS = 255
_PASSED_ON = {
    "state": MAX_STATE_CHARACTERS,
    "code": MAX_CODE_CHARACTERS,
    "iss": MAX_ISSUER_CHARACTERS,
    "error": 64,
}
"""What the app is told of a return, and how many characters of it at most; anything longer, and anything else, is left out."""
FORM = {"malformed_json": 400, "too_large": 413, "unsupported_media_type": 415, "invalid_request": 422}
NOT_HERE = {"provider_not_configured": 404, "provider_unavailable": 503, "unavailable": 503}
"""What every route can refuse with that leads to Google."""
_SIGNING_IN = {
    "social_refused": 401,
    "link_required": 409,
    "identity_conflict": 409,
    "too_many_attempts": 429,
    **NOT_HERE,
    **FORM,
    **IN_COOKIE_FAILS,
}
_VISIBLE = r"^[\x21-\x7e]+$"

Token = Annotated[str, StringConstraints(strict=True, max_length=MAX_TOKEN_CHARACTERS, pattern=_VISIBLE)]
Nonce = Annotated[str, StringConstraints(strict=True, max_length=MAX_NONCE_CHARACTERS, pattern=_VISIBLE)]
State = Annotated[str, StringConstraints(strict=True, max_length=MAX_STATE_CHARACTERS, pattern=_VISIBLE)]
Code = Annotated[str, StringConstraints(strict=True, max_length=MAX_CODE_CHARACTERS, pattern=_VISIBLE)]
Issuer = Annotated[str, StringConstraints(strict=True, max_length=MAX_ISSUER_CHARACTERS, pattern=_VISIBLE)]


class IdTokenBody(Body):
    """An ID token that Google's button or a phone's library has got."""

    id_token: Token
    nonce: Nonce | None = Field(None, description="the nonce that Google was given, if one was; the token may have its SHA-256 in hex")


class SignInBody(IdTokenBody):
    """Without a device the server mints one for this session."""

    device: DeviceBody | None = None


class ReturnBody(Body):
    """What the browser came back from Google with, as the fragment of the app's address has it."""

    state: State
    code: Code
    iss: Issuer | None = None

    def returned(self, request: Request, services: Services) -> Return:
        """The same with the browser's cookie. Raises CrossSite for a page that may not use it."""
        require_own_page(request.headers, services.settings)
        cookie = social_cookie.kept(request, services.settings)
        return Return(state=self.state, code=self.code, issuer=self.iss, cookie=cookie)


class DepartureView(BaseModel):
    """Where the browser is to go; it has been given a cookie to come back with."""

    url: str = Field(description="Google's page")
    expires_in: int = Field(description="seconds until the sign-in must have come back")


class FinishBody(ReturnBody):
    """Without a device the server mints one for this session."""

    device: DeviceBody | None = None


@router.post("", dependencies=[IN_COOKIE], responses=fails(**_SIGNING_IN))
async def sign_in(body: SignInBody, request: Request, response: Response, speaking: Speaking, services: Served) -> GrantView:
    """Sign this device in with an ID token of Google's; who is new gets an account."""
    await services.limits.social(services.address_of(request))
    device = device_of(body.device, request, services)
    grant = await services.google.sign_in(body.id_token, body.nonce, device, language=speaking, now=services.clock())
    return answer_with(grant, request, response, services)


@router.get(
    "/start",
    status_code=303,
    response_class=RedirectResponse,
    responses={303: {"description": "to Google's page"}, **fails(too_many_attempts=429, **NOT_HERE)},
)
async def start(request: Request, services: Served) -> Response:
    """Send this browser to Google's page. It comes back to the app, which then asks `finish`."""
    await services.limits.social(services.address_of(request))
    departure = await services.google.begin(now=services.clock())
    response = RedirectResponse(departure.url, status_code=303)
    social_cookie.keep(response, departure.cookie, services.settings)
    return response


@router.post("/start", responses=fails(too_many_attempts=429, **NOT_HERE))
async def begin(request: Request, response: Response, services: Served) -> DepartureView:
    """The address of Google's page, for an app that leads the browser there itself."""
    await services.limits.social(services.address_of(request))
    return leaving(await services.google.begin(now=services.clock()), response, services)


@router.post("/finish", dependencies=[IN_COOKIE], responses=fails(invalid_state=400, **_SIGNING_IN))
async def finish(body: FinishBody, request: Request, response: Response, speaking: Speaking, services: Served) -> GrantView:
    """Sign this device in: its browser has come back from Google to the app."""
    await services.limits.social(services.address_of(request))
    device = device_of(body.device, request, services)
    grant = await services.google.finish(body.returned(request, services), device, language=speaking, now=services.clock())
    social_cookie.drop(response, services.settings)
    return answer_with(grant, request, response, services)


@callback_router.get(CALLBACK_PATH, include_in_schema=False)
async def callback(request: Request, response: Response, speaking: Speaking, services: Served) -> Response:
    """Where Google sends browsers back to: on to the app, or without one the tokens as an answer.

    What came is passed on in the fragment, which reaches no server and no log. It is of no use without the browser's cookie.
    """
    came = {name: value for name, longest in _PASSED_ON.items() if (value := _one(request, name, longest)) is not None}
    if services.settings.app_url is not None:
        there = f"{services.settings.app_url.rstrip('/')}/#/sign-in?{urlencode({'provider': 'google', **came})}"
        return RedirectResponse(there, status_code=303)
    await services.limits.social(services.address_of(request))
    view = await _finished_here(came, request, response, speaking, services)
    # written by hand, since what is redirected has no model
    return Response(view.model_dump_json(), media_type="application/json", headers=dict(response.headers))


async def _finished_here(came: dict[str, str], request: Request, response: Response, language: Language, services: Services) -> GrantView:
    cookie, device = social_cookie.kept(request, services.settings), device_of(None, request, services)
    if "error" in came:
        await services.google.denied(state=came.get("state", ""), cookie=cookie, caller=device.caller, now=services.clock())
    if "state" not in came or "code" not in came:
        raise InvalidState
    returned = Return(state=came["state"], code=came["code"], issuer=came.get("iss"), cookie=cookie)
    grant = await services.google.finish(returned, device, language=language, now=services.clock())
    social_cookie.drop(response, services.settings)
    return answer_with(grant, request, response, services)


def leaving(departure: Departure, response: Response, services: Services) -> DepartureView:
    """The answer that sends a browser to Google's page, with the cookie."""
    social_cookie.keep(response, departure.cookie, services.settings)
    return DepartureView(url=departure.url, expires_in=int(LIFETIME.total_seconds()))


def _one(request: Request, name: str, longest: int) -> str | None:
    """The parameter, if it is there once and can be what it should be."""
    values = request.query_params.getlist(name)
    if len(values) != 1 or not 0 < len(values[0]) <= longest or not (values[0].isascii() and values[0].isprintable()):
        return None
    return values[0]
