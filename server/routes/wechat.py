"""`/api/auth/social/wechat` and `/api/auth/identities/wechat`: signing in with WeChat, and linking it (docs/wechat.md)."""

import re
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from auth.errors import ProviderNotConfigured
from auth.social_states import LIFETIME
from auth.wechat import Kind
from auth.wechat_sign_in import Presented, QrPage
from server import social_cookie
from server.cross_site import require_own_page
from server.problems import fails
from server.routes.asking import SIGNED_IN_RECENTLY, RecentlyAsking, Served
from server.routes.body import StrictRoute
from server.routes.grants import IN_COOKIE, IN_COOKIE_FAILS, DeviceBody, GrantView, answer_with, device_of
from server.routes.identities import LINKING, IdentityView
from server.routes.texts import Body
from server.services import Services
from server.wechat import CALLBACK_PATH

router = APIRouter(prefix="/api/auth", tags=["auth"], route_class=StrictRoute)

# WeChat's page may send more along tomorrow.
callback_router = APIRouter(tags=["auth"])

_FORM = {"malformed_json": 400, "too_large": 413, "unsupported_media_type": 415, "invalid_request": 422}
BEGINNING = {"provider_not_configured": 404, "too_many_attempts": 429, "unavailable": 503}
"""What every route can refuse with that leads to WeChat's page."""
EXCHANGING = {
    **BEGINNING,
    "invalid_state": 400,
    "wechat_code_invalid": 401,
    "social_refused": 401,
    "wechat_blocked": 403,
    "wechat_virtual_account": 403,
    "provider_busy": 429,
    "provider_error": 500,
    "provider_failed": 502,
    "provider_unavailable": 503,
    "busy": 503,
    "provider_timeout": 504,
    **IN_COOKIE_FAILS,
}
"""What every route can refuse with that takes a code."""

_CODE, _STATE = r"^[!-~]{1,512}$", r"^[0-9a-zA-Z]{1,128}$"
_PASSED_ON = {"code": re.compile(_CODE), "state": re.compile(_STATE)}
"""What the app is told of a return: no code means that the user did not agree."""
Code = Annotated[str, StringConstraints(strict=True, pattern=_CODE)]
"""What WeChat hands out: 32 characters today. Past 512: 422."""
State = Annotated[str, StringConstraints(strict=True, pattern=_STATE)]
"""What WeChat passes back byte for byte. Ours have 64 characters, and in WeChat's own browser it allows no more than 128 of these."""


class CodeBody(Body):
    """A code of WeChat's, and which of our apps there it was made for; from a website with the `state` that came with it."""

    kind: Kind = Field(description="`web`: a website; `app`: a mobile app; `mini`: a mini-program")
    code: Code
    state: State | None = Field(None, description="for `web`, and only there")

    @model_validator(mode="after")
    def _state_of_a_website(self) -> "CodeBody":
        if (self.kind is Kind.WEB) != (self.state is not None):
            raise PydanticCustomError("state", "takes a state for web, and for nothing else")
        return self

    def presented(self, request: Request, services: Services) -> Presented:
        """The same with the browser's cookie, for a website. Raises CrossSite for a page that may not use it."""
        if self.kind is not Kind.WEB:
            return Presented(kind=self.kind, code=self.code)
        require_own_page(request.headers, services.settings)
        return Presented(kind=self.kind, code=self.code, state=self.state, cookie=social_cookie.kept(request, services.settings))


class SignInBody(CodeBody):
    """The same with the device; without one the server mints one for this session."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "mini", "code": "0a3Xm6Ga1nFw8G0tUbHa1BqKzX0Xm6Gm"}]})

    device: DeviceBody | None = None


class QrPageView(BaseModel):
    """Where to send the browser, which has been given a cookie."""

    url: str = Field(description="WeChat's page with the QR code")
    expires_in: int = Field(description="seconds until the sign-in must have come back")


@router.get(
    "/social/wechat/start",
    status_code=303,
    response_class=RedirectResponse,
    responses={303: {"description": "to WeChat's page"}, **fails(**BEGINNING)},
)
async def start(request: Request, services: Served) -> Response:
    """Send this browser to WeChat's page. It comes back to the app, which then asks `POST /api/auth/social/wechat`."""
    await services.limits.social(services.address_of(request))
    page = await services.wechat.begin(now=services.clock())
    response = RedirectResponse(page.url, 303, headers={"Cache-Control": "no-store"})
    social_cookie.keep(response, page.cookie, services.settings)
    return response


@router.post("/social/wechat/start", responses=fails(**BEGINNING))
async def begin(request: Request, response: Response, services: Served) -> QrPageView:
    """The address of WeChat's page, for an app that shows it itself."""
    await services.limits.social(services.address_of(request))
    return _shown(await services.wechat.begin(now=services.clock()), response, services)


@callback_router.get(CALLBACK_PATH, include_in_schema=False)
async def callback(request: Request, services: Served) -> Response:
    """Where WeChat sends browsers back to: on to the app, with what came in the fragment, which reaches no server and no log."""
    if (app_url := services.settings.app_url) is None:
        raise ProviderNotConfigured
    came = {name: value for name, form in _PASSED_ON.items() if (value := _one(request, name, form)) is not None}
    there = f"{app_url.rstrip('/')}/#/sign-in?{urlencode({'provider': 'wechat', **came})}"
    return RedirectResponse(there, 303, headers={"Cache-Control": "no-store"})


@router.post(
    "/social/wechat",
    dependencies=[IN_COOKIE],
    responses=fails(identity_conflict=409, **EXCHANGING, **_FORM),
)
async def sign_in(body: SignInBody, request: Request, response: Response, services: Served) -> GrantView:
    """Sign this device in with a code of WeChat's; whoever is new gets an account."""
    await services.limits.social(services.address_of(request))
    device = device_of(body.device, request, services)
    grant = await services.wechat.sign_in(body.presented(request, services), device, now=services.clock())
    if body.kind is Kind.WEB:
        social_cookie.drop(response, services.settings)
    return answer_with(grant, request, response, services)


@router.post("/identities/wechat/start", responses=fails(**(BEGINNING | SIGNED_IN_RECENTLY)))
async def begin_to_link(asking: RecentlyAsking, request: Request, response: Response, services: Served) -> QrPageView:
    """The address of WeChat's page, from which this browser comes back to link: what comes back signs nobody in."""
    await services.limits.social(services.address_of(request))
    return _shown(await services.wechat.begin(now=services.clock(), linking=asking), response, services)


@router.post("/identities/wechat", responses=fails(**(EXCHANGING | LINKING)))
async def link(body: CodeBody, asking: RecentlyAsking, request: Request, response: Response, services: Served) -> IdentityView:
    """Have the WeChat user whom the code is of sign this user in from now on."""
    await services.limits.social(services.address_of(request))
    presented = body.presented(request, services)
    linked = await services.wechat.link(asking, presented, now=services.clock(), caller=services.caller_of(request))
    if body.kind is Kind.WEB:
        social_cookie.drop(response, services.settings)
    return IdentityView.of(linked)


def _shown(page: QrPage, response: Response, services: Services) -> QrPageView:
    response.headers["Cache-Control"] = "no-store"
    social_cookie.keep(response, page.cookie, services.settings)
    return QrPageView(url=page.url, expires_in=int(LIFETIME.total_seconds()))


def _one(request: Request, name: str, form: re.Pattern[str]) -> str | None:
    """The parameter, if it is there once and can be what it should be."""
    values = request.query_params.getlist(name)
    return values[0] if len(values) == 1 and form.fullmatch(values[0]) else None
