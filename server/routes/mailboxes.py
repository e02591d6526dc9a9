"""`/api/auth/email`: the address of an account, shown to be its owner's, and changed."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from auth.mail import Kind
from server.problems import fails
from server.routes.asking import SIGNED_IN, SIGNED_IN_RECENTLY, Asking, RecentlyAsking, Served, Speaking
from server.routes.body import StrictRoute
from server.routes.texts import Body, Email, MailToken

router = APIRouter(prefix="/api/auth/email", tags=["auth"], route_class=StrictRoute)

_FORM = {"malformed_json": 400, "too_large": 413, "unsupported_media_type": 415, "invalid_request": 422}


class Accepted(BaseModel):
    """What was asked for is on its way, if it may be; whether it is, only the mailbox is told."""


class MailTokenBody(Body):
    """The token of a mail."""

    token: MailToken


class EmailBody(Body):
    """A mail address."""

    email: Email


@router.post("/verification", status_code=202, responses=fails(no_address=409, too_many_attempts=429, **SIGNED_IN))
async def ask_verification(asking: Asking, request: Request, speaking: Speaking, services: Served) -> Accepted:
    """Mail once more the token that verifies the account's address. Where it is verified already, nothing is sent."""
    caller = services.caller_of(request)
    if asking.user.email is not None and asking.user.email_verified_at is None:
        await services.limits.mail(asking.user.email, caller.address, Kind.VERIFY)
    await services.mailboxes.ask_verification(asking, language=speaking, caller=caller, now=services.clock())
    return Accepted()


@router.post("/verify", status_code=204, responses=fails(invalid_mail_token=403, **_FORM, **SIGNED_IN))
async def verify(body: MailTokenBody, asking: Asking, request: Request, services: Served) -> Response:
    """Verify the account's address by the token that was mailed to it."""
    await services.mailboxes.verify(asking, body.token, caller=services.caller_of(request), now=services.clock())
    return Response(status_code=204)


@router.post("", status_code=202, responses=fails(too_many_attempts=429, **_FORM, **SIGNED_IN_RECENTLY))
async def ask_change(body: EmailBody, asking: RecentlyAsking, request: Request, speaking: Speaking, services: Served) -> Accepted:
    """Mail a token to a new address, and a notice to the one until then. The answer is the same where the address is taken."""
    caller = services.caller_of(request)
    await services.limits.mail(body.email, caller.address, Kind.CHANGE)
    await services.mailboxes.ask_change(asking, body.email, language=speaking, caller=caller, now=services.clock())
    return Accepted()


@router.post("/confirm", status_code=204, responses=fails(invalid_mail_token=403, **_FORM, **SIGNED_IN))
async def confirm_change(body: MailTokenBody, asking: Asking, request: Request, speaking: Speaking, services: Served) -> Response:
    """Make the address that the token was mailed to the account's. Its other sessions end."""
    await services.mailboxes.confirm_change(asking, body.token, language=speaking, caller=services.caller_of(request), now=services.clock())
    return Response(status_code=204)
