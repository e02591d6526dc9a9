"""`/api/auth/social/wechat` and `/api/auth/identities/wechat`: signing in with WeChat, and linking it (docs/wechat.md)."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from auth.errors import ProviderNotConfigured
from auth.sessions import Principal
from auth.social_states import LIFETIME
from auth.wechat import Kind
from auth.wechat_sign_in import Presented, QrPage
from server import social_cookie
from server.problems import fails
from server.routes.asking import SIGNED_IN_RECENTLY, RecentlyAsking, Served
from server.routes.body import StrictRoute
from server.routes.grants import IN_COOKIE, IN_COOKIE_FAILS, DeviceBody, GrantView, answer_with, device_of
from server.routes.texts import Body
from server.services import Services

router = APIRouter(prefix="/api/auth", tags=["auth"], route_class=StrictRoute)

_FORM = {"malformed_json": 400, "too_large": 413, "unsupported_media_type": 415, "invalid_request": 422}
_BEGINNING = {"provider_not_configured": 404, "too_many_attempts": 429, "unavailable": 503}
_EXCHANGING = {
    **_BEGINNING,
    "invalid_state": 400,
    "wechat_code_invalid": 401,
    "wechat_blocked": 403,
    "wechat_virtual_account": 403,
    "provider_busy": 429,
    "provider_error": 500,
    "provider_failed": 502,
    "provider_unavailable": 503,
    "busy": 503,
    "provider_timeout": 504,
}

Code = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=512, pattern=r"^[!-~]+$")]
"""What WeChat hands out: 32 characters today."""
State = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=128, pattern=r"^[0-9a-zA-Z]+$")]


class CodeBody(Body):
    """A code of WeChat's, and which of our apps there it was made for; from a website with the `state` that came with it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "mini", "code": "0a3Xm6Ga1nFw8G0tUbHa1BqKzX0Xm6Gm"}]})

    kind: Kind = Field(description="`web`: a website; `app`: a mobile app; `mini`: a mini-program")
    code: Code
    state: State | None = Field(None, description="for `web`, and only there")

    @model_validator(mode="after")
    def _state_of_a_website(self) -> "CodeBody":
        if (self.kind is Kind.WEB) != (self.state is not None):
            raise PydanticCustomError("state", "takes a state for web, and for nothing else")
        return self


class SignInBody(CodeBody):
    """The same with the device; without one the server mints one for this session."""

    device: DeviceBody | None = None


class QrPageView(BaseModel):
    """Where to send the browser, which has been given a cookie."""

    url: str = Field(description="WeChat's page with the QR code")
    expires_in: int = Field(description="seconds until the sign-in must have come back")


@router.get("/social/wechat/start", status_code=302, response_class=RedirectResponse, responses=fails(**_BEGINNING))
async def lead_to_the_qr_page(request: Request, services: Served) -> Response:
    """Lead a browser to WeChat's page, which sends it back to the app's address with `code` and `state`."""
    page = await _begin(request, services)
    response = RedirectResponse(page.url, 302, headers={"Cache-Control": "no-store"})
    social_cookie.keep(response, page.cookie, services.settings)
    return response


@router.post("/social/wechat/start", responses=fails(**_BEGINNING))
async def begin_to_sign_in(request: Request, response: Response, services: Served) -> QrPageView:
    """The same for a page that leads the browser there itself."""
    return _shown(await _begin(request, services), response, services)


@router.post("/identities/wechat/start", responses=fails(**(_BEGINNING | SIGNED_IN_RECENTLY)))
async def begin_to_link(asking: RecentlyAsking, request: Request, response: Response, services: Served) -> QrPageView:
    """The same to link: what comes back signs nobody in."""
    return _shown(await _begin(request, services, linking=asking), response, services)


@router.post(
    "/social/wechat",
    dependencies=[IN_COOKIE],
    responses=fails(social_refused=401, identity_conflict=409, **_EXCHANGING, **_FORM, **IN_COOKIE_FAILS),
)
async def sign_in(body: SignInBody, request: Request, response: Response, services: Served) -> GrantView:
    """Sign this device in with a code of WeChat's; whoever is new gets an account."""
    await services.limits.social(services.address_of(request))
    device = device_of(body.device, request, services)
    grant = await services.wechat.sign_in(_presented(body, request, services), device, now=services.clock())
    if body.kind is Kind.WEB:
        social_cookie.drop(response, services.settings)
    return answer_with(grant, request, response, services)


async def _begin(request: Request, services: Services, linking: Principal | None = None) -> QrPage:
    app_url = services.settings.app_url
    if app_url is None:
        raise ProviderNotConfigured
    await services.limits.social(services.address_of(request))
    return await services.wechat.begin(redirect_uri=app_url, now=services.clock(), linking=linking)


def _shown(page: QrPage, response: Response, services: Services) -> QrPageView:
    response.headers["Cache-Control"] = "no-store"
    social_cookie.keep(response, page.cookie, services.settings)
    return QrPageView(url=page.url, expires_in=int(LIFETIME.total_seconds()))


def _presented(body: CodeBody, request: Request, services: Services) -> Presented:
    return Presented(kind=body.kind, code=body.code, state=body.state, cookie=social_cookie.kept(request, services.settings))
