"""`/api/auth/reauthenticate`: what to do after a 403 `recent_login_required`."""

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict

from server.problems import fails
from server.routes.asking import SIGNED_IN, Asking, Served
from server.routes.body import StrictRoute
from server.routes.texts import Body, Password

router = APIRouter(prefix="/api/auth", tags=["auth"], route_class=StrictRoute)

_FORM = {"malformed_json": 400, "too_large": 413, "unsupported_media_type": 415, "invalid_request": 422}


class ReauthenticationBody(Body):
    """What shows that it is the account's owner who asks."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"password": "correct horse battery"}]})

    password: Password


@router.post(
    "/reauthenticate",
    status_code=204,
    responses=fails(invalid_credentials=401, too_many_attempts=429, busy=503, **SIGNED_IN, **_FORM),
)
async def reauthenticate(body: ReauthenticationBody, asking: Asking, request: Request, services: Served) -> Response:
    """Show once more that it is you: for some minutes this session may do what takes a recent login."""
    await services.limits.password_check(asking.user.id)
    caller = services.caller_of(request)
    await services.reauthentication.by_password(asking, body.password, now=services.clock(), caller=caller)
    return Response(status_code=204)
