"""`/api/auth/register/confirm`: an account for a registration whose mailbox was shown."""

from fastapi import APIRouter, Request, Response

from auth.mail import Kind, Language
from server.errors import TooManyAttempts
from server.problems import fails
from server.routes.asking import Served
from server.routes.body import StrictRoute
from server.routes.grants import IN_COOKIE, IN_COOKIE_FAILS, DeviceBody, GrantView, answer_with, device_of
from server.routes.mailboxes import Accepted, MailTokenBody
from server.routes.texts import Password
from server.services import Services

router = APIRouter(prefix="/api/auth/register", tags=["auth"], route_class=StrictRoute)

_FORM = {"malformed_json": 400, "too_large": 413, "unsupported_media_type": 415, "invalid_request": 422}
_LATER = {"busy": 503, "unavailable": 503}


class ConfirmBody(MailTokenBody):
    """The token of a mail, and the password that was registered: who has only the one, or the other, gets no account."""

    password: Password
    device: DeviceBody | None = None


@router.post(
    "/confirm",
    status_code=201,
    dependencies=[IN_COOKIE],
    responses=fails(invalid_credentials=401, invalid_mail_token=403, too_many_attempts=429, **_FORM, **_LATER, **IN_COOKIE_FAILS),
)
async def confirm(body: ConfirmBody, request: Request, response: Response, services: Served) -> GrantView:
    """Make the account that was registered, with a library of its own, and sign this device in."""
    await services.limits.attempt(services.address_of(request))
    grant = await services.registrations.confirm(
        token=body.token, password=body.password, device=device_of(body.device, request, services), now=services.clock()
    )
    return answer_with(grant, request, response, services)


async def ask(email: str, password: str, name: str | None, request: Request, language: Language, services: Services) -> Response:
    """Take a registration that becomes an account by a mail; the answer is the same for addresses that have one.

    Raises:
        TooManyAttempts: the mailbox was sent, or the client's address asked for, as many mails as may be.
    """
    caller = services.caller_of(request)
    await services.limits.mail(email, caller.address, Kind.REGISTER)
    await services.registrations.ask(email=email, password=password, name=name, language=language, caller=caller, now=services.clock())
    return Response(Accepted().model_dump_json(), 202, media_type="application/json")


async def verification_for(email: str, address: str, language: Language, services: Services) -> Language | None:
    """The language of the mail to a new account, or None where no more mails may go out: it can be asked for later."""
    try:
        await services.limits.mail(email, address, Kind.VERIFY)
    except TooManyAttempts:
        return None
    return language
