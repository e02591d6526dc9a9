"""`/api/auth/password`: a new password, for who is signed in or has the account's mailbox."""

from fastapi import APIRouter, Request, Response

from auth.mail import Kind
from server.problems import fails
from server.routes.asking import SIGNED_IN_RECENTLY, Asking, Served, Speaking
from server.routes.body import StrictRoute
from server.routes.mailboxes import Accepted, EmailBody, MailTokenBody
from server.routes.texts import Body, Password

router = APIRouter(prefix="/api/auth/password", tags=["auth"], route_class=StrictRoute)

_FORM = {"malformed_json": 400, "too_large": 413, "unsupported_media_type": 415, "invalid_request": 422}
_NEW = {"weak_password": 422, "busy": 503}


class ResetBody(MailTokenBody):
    """The token of a mail, and the new password."""

    password: Password


class PasswordChange(Body):
    """The new password, and the one until then; without that, a recent login serves."""

    current_password: Password | None = None
    new_password: Password


@router.post("", status_code=204, responses=fails(invalid_credentials=401, too_many_attempts=429, **_FORM, **_NEW, **SIGNED_IN_RECENTLY))
async def change(body: PasswordChange, asking: Asking, request: Request, speaking: Speaking, services: Served) -> Response:
    """Give the account another password, or its first one. Its other sessions end, this one stays."""
    caller = services.caller_of(request)
    await services.limits.password_check(asking.user.id)  # without a password shown, too: each change is hashed, and mailed to the address
    await services.credentials.change(
        asking, current=body.current_password, new=body.new_password, language=speaking, caller=caller, now=services.clock()
    )
    return Response(status_code=204)


@router.post("/forgot", status_code=202, responses=fails(too_many_attempts=429, unavailable=503, **_FORM))
async def forgot(body: EmailBody, request: Request, speaking: Speaking, services: Served) -> Accepted:
    """Mail a token that takes a new password, if an account has this address. The answer is the same if none has."""
    caller = services.caller_of(request)
    await services.limits.mail(body.email, caller.address, Kind.RESET)
    await services.credentials.ask_reset(email=body.email, language=speaking, caller=caller, now=services.clock())
    return Accepted()


@router.post("/reset", status_code=204, responses=fails(invalid_mail_token=403, unavailable=503, **_FORM, **_NEW))
async def reset(body: ResetBody, request: Request, speaking: Speaking, services: Served) -> Response:
    """Give the account of the mailed token a new password. All of its sessions end, and its address counts as verified."""
    await services.credentials.reset(
        token=body.token, password=body.password, language=speaking, caller=services.caller_of(request), now=services.clock()
    )
    return Response(status_code=204)
