"""`/api/auth/reauthenticate`: what to do after a 403 `recent_login_required`."""

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from server.problems import fails
from server.routes.asking import SIGNED_IN, Asking, Served
from server.routes.body import StrictRoute
from server.routes.google import FORM, NOT_HERE, IdTokenBody
from server.routes.texts import Body, Password
from server.routes.wechat import EXCHANGING, CodeBody

router = APIRouter(prefix="/api/auth", tags=["auth"], route_class=StrictRoute)


class ReauthenticationBody(Body):
    """What shows that it is the account's owner who asks: the password, or another provider's word about an identity of the account's."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"password": "correct horse battery"}]})

    password: Password | None = None
    google: IdTokenBody | None = Field(None, description="an ID token of the last five minutes")
    wechat: CodeBody | None = Field(None, description="a code of WeChat's; for `web` by `POST /api/auth/social/wechat/start`")

    @model_validator(mode="after")
    def _one(self) -> "ReauthenticationBody":
        if sum(proof is not None for proof in (self.password, self.google, self.wechat)) != 1:
            raise PydanticCustomError("one_proof", "takes one of password, google and wechat")
        return self


@router.post(
    "/reauthenticate",
    status_code=204,
    responses=fails(invalid_credentials=401, **(NOT_HERE | EXCHANGING | SIGNED_IN), **FORM),
)
async def reauthenticate(body: ReauthenticationBody, asking: Asking, request: Request, services: Served) -> Response:
    """Show once more that it is you: for some minutes this session may do what takes a recent login."""
    await services.limits.password_check(asking.user.id)
    caller, now = services.caller_of(request), services.clock()
    if body.password is not None:
        await services.reauthentication.by_password(asking, body.password, now=now, caller=caller)
    if body.google is not None:
        identified = services.google.identify(body.google.id_token, body.google.nonce, now=now, proof=True)
        await services.reauthentication.by_identity(asking, identified, "google", now=now, caller=caller)
    if body.wechat is not None:
        code = services.wechat.identify(body.wechat.presented(request, services), now=now)
        await services.reauthentication.by_identity(asking, code, body.wechat.kind.method, now=now, caller=caller)
    return Response(status_code=204)
