"""`/api/prompts/{id}/share` and `/api/shares`: links by which a prompt is read without an account. For those who may write a library."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from auth.errors import Forbidden, SessionEnded
from auth.permissions import may_write
from crdt.library import Mode
from server.claim import Claim
from server.errors import Gone, TooMany
from server.intents import shares as intents
from server.intents.shares import Target
from server.problems import fails
from server.routes.asking import Served
from server.routes.at import READS, WRITES, At, AtLibrary
from server.routes.body import StrictRoute
from server.routes.creating import ONCE, Claimed, CreatingRoute
from server.routes.prompt_bodies import MomentText
from server.routes.prompts import PromptId
from server.routes.texts import Body, Description, Id, Known
from server.services import Services
from server.share_links import draw_code
from storage import shares, users
from storage.errors import NotFound
from storage.shares import NewShare, Share

prompt_router = APIRouter(prefix="/api/prompts/{prompt_id}/share", tags=["shares"], route_class=CreatingRoute)
router = APIRouter(prefix="/api/shares", tags=["shares"], route_class=StrictRoute)

MAX_LIVE = 200
"""Links of a library that have not ended: they are listed whole. Past it: 409, until one is revoked or runs out."""
MAX_ENDED = 200
"""Links that are listed after their end; of more, those that ended first are forgotten when another one is made."""
MAX_DAYS = 3650
"""Days that a link may last, if it is to end at all. Past it: 422."""
MAX_NOTE = 1000
"""Characters of a note. Past it: 422."""
SOURCE_PATH = "/api/prompt-source"
"""Below it is what a link opens."""


class ShareBody(Body):
    """How a prompt is shared; without a time the link lasts until it is revoked."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"expires_in_days": 30, "note": "for the newsletter"}]})

    expires_in_days: Annotated[int, Field(strict=True, ge=1, le=MAX_DAYS)] | None = None
    expires_at: MomentText | None = Field(None, description="instead of `expires_in_days`")
    version: Literal["current"] | Known = Field(
        "current", description="the id of a version, whose text is shared; `current`: the prompt as it is whenever it is read"
    )
    note: Annotated[Description, Field(max_length=MAX_NOTE, description="for those who see the list")] = ""

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.expires_in_days is not None and self.expires_at is not None:
            raise PydanticCustomError("two_ends", "has two times at which the link ends")
        return self

    def end(self, now: datetime) -> datetime | None:
        """When the link ends. Raises RequestValidationError for a time that it cannot end at."""
        if self.expires_in_days is not None:
            return now + timedelta(days=self.expires_in_days)
        if self.expires_at is not None and not timedelta() < self.expires_at - now <= timedelta(days=MAX_DAYS):
            raise RequestValidationError(
                [{"type": "end", "loc": ("body", "expires_at"), "msg": f"is over, or more than {MAX_DAYS} days from now"}]
            )
        return self.expires_at


class ShareView(BaseModel):
    """A link."""

    id: UUID
    prompt_id: str
    prompt_title: str | None = Field(description="null: the prompt, or the version that is shared, is gone")
    version_id: str | None = Field(description="null: the prompt is shared as it is whenever it is read")
    note: str
    code: str = Field(description="whoever has it can read the prompt")
    url: str = Field(description="what `GET` answers with the prompt, in the form that the web app imports")
    import_url: str | None = Field(description="where the web app opens it; null where this server does not know the app's address")
    created_at: datetime
    created_by: UUID | None = Field(description="the member who made it, maybe none any more; null: the account is gone")
    expires_at: datetime | None
    revoked_at: datetime | None
    opened: int = Field(description="how often it was read, up to some seconds ago")
    last_opened_at: datetime | None
    expired: bool
    revoked: bool
    live: bool = Field(description="whether it can be read now: not expired nor revoked, and the prompt is there and not in the bin")


class ShareList(BaseModel):
    """A library's links, the newest first."""

    shares: list[ShareView]


@prompt_router.post(
    "",
    status_code=201,
    responses=fails(too_many=409, in_bin=409, unknown_reference=422, **WRITES, **ONCE),
)
async def create(prompt_id: PromptId, body: ShareBody, at: At, claim: Claimed, services: Served, request: Request) -> ShareView:
    """Make a link by which anybody who has it reads the prompt: its text and how it is filed, and nothing about whose it is."""
    _check_writer(at)
    version_id = None if body.version == "current" else body.version
    ends = body.end(claim.now)
    target = await at.read(partial(intents.target, prompt_id=prompt_id, version_id=version_id))
    share = NewShare(
        id=claim.id_for(0),
        library_id=at.library.id,
        code=draw_code(services.random),
        prompt_id=prompt_id,
        version_id=version_id,
        note=body.note,
        created_by=at.principal.user.id,
        created_at=claim.now,
        expires_at=ends,
    )
    return _view(await _create(share, claim, services), target, services, request)


async def _create(share: NewShare, claim: Claim, services: Services) -> Share:
    """The link as it is stored; one that an earlier attempt has made is it.

    Raises:
        SessionEnded, NotFound, Forbidden: as the user and the user's role are now.
        TooMany: MAX_LIVE are there.
        Gone: it was made before, and is forgotten.
    """
    async with services.database.transaction() as connection:
        # before the library, as whoever deletes the account takes them
        if not await users.lock(connection, share.created_by):
            raise SessionEnded
        # without the lock, requests that run at once would all count the same number
        locked = await shares.lock(connection, services.keyring, share.library_id, share.created_by)
        if locked is None:
            raise NotFound
        key, role = locked
        if not may_write(role):
            raise Forbidden
        made = await shares.get(connection, key, share.library_id, share.id)
        if made is not None:
            return made
        if claim.was_done:
            raise Gone
        if await shares.count_live(connection, share.library_id, now=claim.now) >= MAX_LIVE:
            raise TooMany
        await shares.forget_ended(connection, share.library_id, now=claim.now, but=MAX_ENDED)
        await claim.mark(connection)
        return await shares.create(connection, key, share)


@router.get("", responses=fails(forbidden=403, **READS))
async def list_all(at: At, services: Served, request: Request) -> ShareList:
    """All links of a library, those that have ended too. Not for viewers: whoever has a code can give it to anybody."""
    _check_writer(at)
    async with services.database.acquire() as connection:
        found = await shares.of_library(connection, services.keyring, at.library.id)
    targets: Sequence[Target] = ()
    if found:
        targets = await at.read(partial(intents.targets, named=[(share.prompt_id, share.version_id) for share in found]))
    return ShareList(shares=[_view(share, target, services, request) for share, target in zip(found, targets, strict=True)])


@router.delete("/{share_id}", status_code=204, responses=fails(**WRITES))
async def revoke(share_id: Id, at: At, services: Served) -> Response:
    """End a link: it opens nothing from now on, for ever. One that has ended stays as it is."""
    _check_writer(at)
    async with services.database.acquire() as connection:
        if not await shares.revoke(connection, at.library.id, share_id, now=services.clock()):
            raise NotFound
    return Response(status_code=204)


def _check_writer(at: AtLibrary) -> None:
    if not may_write(at.library.role):
        raise Forbidden


def _view(share: Share, target: Target, services: Services, request: Request) -> ShareView:
    expired, revoked = share.expires_at is not None and share.expires_at <= services.clock(), share.revoked_at is not None
    return ShareView(
        id=share.id,
        prompt_id=share.prompt_id,
        prompt_title=target.title,
        version_id=share.version_id,
        note=share.note,
        code=share.code,
        url=f"{_address(services, request)}{SOURCE_PATH}/{share.code}",
        import_url=_import_url(services.settings.app_url, target.mode, share.code),
        created_at=share.created_at,
        created_by=share.created_by,
        expires_at=share.expires_at,
        revoked_at=share.revoked_at,
        opened=share.opened,
        last_opened_at=share.last_opened_at,
        expired=expired,
        revoked=revoked,
        live=not expired and not revoked and target.title is not None and not target.in_bin,
    )


def _address(services: Services, request: Request) -> str:
    return (services.settings.public_url or str(request.base_url)).rstrip("/")


def _import_url(app_url: str | None, mode: Mode | None, code: str) -> str | None:
    """Where the web app imports what the code opens into its favourites: a place of its own for each mode."""
    if app_url is None or mode is None:
        return None
    return f"{app_url.rstrip('/')}/#/{mode.replace('-', '/', 1)}?importCode={code}&saveToFavorites=auto"
