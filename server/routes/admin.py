"""`/api/admin`: accounts and the audit log, for administrators. No content of libraries, and no secrets.

Whoever is none is told so (403): that these routes exist is no secret, the document of this API names them, and a 404 would only hide
from an administrator whose role was taken away what has happened.
"""

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from auth.administration import Author
from auth.errors import Forbidden
from auth.sessions import Principal
from crdt.query import InvalidCursor
from server.problems import fails
from server.routes.account import BeforeEntry, Limit
from server.routes.asking import SIGNED_IN, SIGNED_IN_RECENTLY, Asking, RecentlyAsking, Served
from server.routes.body import StrictRoute
from server.routes.prompt_bodies import Moment
from server.routes.texts import MAX_ID, Body, Id, Known
from storage import administration, audit
from storage.administration import Facts
from storage.audit import Entry
from storage.errors import NotFound
from storage.users import Rank

router = APIRouter(prefix="/api/admin", tags=["admin"], route_class=StrictRoute)

_FORM = {"malformed_json": 400, "too_large": 413, "unsupported_media_type": 415, "invalid_request": 422}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE = struct.Struct(">q16s")
"""A place in the list of accounts: microseconds since 1970, and an id."""


async def _admin(asking: Asking) -> Principal:
    if asking.user.role is not Rank.ADMIN:
        raise Forbidden
    return asking


async def _author(admin: Annotated[Principal, Depends(_admin)], _: RecentlyAsking, request: Request, services: Served) -> Author:
    return Author(actor="admin", id=admin.user.id, caller=services.caller_of(request), session_id=admin.session_id)


Admin = Annotated[Principal, Depends(_admin)]
ByAdmin = Annotated[Author, Depends(_author)]
"""An administrator who has shown a short time ago who it is, and may change something."""
READS: dict[str, int] = {"forbidden": 403, **SIGNED_IN}
CHANGES: dict[str, int] = {"forbidden": 403, "not_found": 404, **SIGNED_IN_RECENTLY}


class AccountView(BaseModel):
    """An account, as those see it who look after all of them."""

    id: UUID
    email: str | None
    email_verified: bool
    name: str
    role: Rank
    created_at: datetime
    last_login: datetime | None
    disabled_at: datetime | None = Field(description="since when nobody can sign in to it")
    has_password: bool
    providers: list[str] = Field(description="providers that sign in to it")
    libraries: int = Field(description="how many it owns")
    sessions: int = Field(description="how many are not over")

    @classmethod
    def of(cls, facts: Facts) -> "AccountView":
        user = facts.user
        return cls(
            id=user.id,
            email=user.email,
            email_verified=user.email_verified_at is not None,
            name=user.name,
            role=user.role,
            created_at=user.created_at,
            last_login=user.last_login_at,
            disabled_at=facts.disabled_at,
            has_password=facts.has_password,
            providers=list(facts.providers),
            libraries=facts.libraries,
            sessions=facts.sessions,
        )


class AccountList(BaseModel):
    """A page of accounts, oldest first."""

    users: list[AccountView]
    next_cursor: str | None = Field(description="for the next page; null on the last one")


class RoleBody(Body):
    """What the account is to be."""

    role: Rank


class AuditEntryView(BaseModel):
    """A line of the audit log."""

    id: int
    at: datetime
    event: str
    user_id: UUID | None = Field(description="whose account it concerns; null where there is none")
    actor: str
    actor_id: UUID | None
    session_id: UUID | None
    address: str
    user_agent: str
    target: str | None
    details: dict[str, Any]

    @classmethod
    def of(cls, entry: Entry) -> "AuditEntryView":
        return cls.model_validate(entry, from_attributes=True)


class AuditPage(BaseModel):
    """A page of the audit log, newest first."""

    entries: list[AuditEntryView]
    next_before: int | None = Field(description="where the next page begins; null on the last one")


def _since(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("moment", "is before the first year, or after the last") from None


Cursor = Annotated[str | None, Query(max_length=MAX_ID, description="the `next_cursor` of the page before")]
Since = Annotated[Moment, AfterValidator(_since)]


@router.get("/users", responses=fails(invalid_cursor=422, **READS))
async def list_users(
    _: Admin,
    services: Served,
    query: Annotated[Known | None, Query(description="a part of the address or the name, or an id")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> AccountList:
    """The accounts of this server."""
    after = _place(cursor) if cursor is not None else (_EPOCH - timedelta(days=1), UUID(int=0))
    async with services.database.acquire() as connection:
        found = await administration.page(connection, query=query or "", after=after, limit=limit + 1, now=services.clock())
    shown = found[:limit]
    return AccountList(users=[AccountView.of(facts) for facts in shown], next_cursor=_cursor(shown[-1]) if len(found) > limit else None)


@router.get("/users/{user_id}", responses=fails(not_found=404, **READS))
async def get_user(user_id: Id, _: Admin, services: Served) -> AccountView:
    """One account."""
    async with services.database.acquire() as connection:
        found = await administration.one(connection, user_id, now=services.clock())
    if found is None:
        raise NotFound
    return AccountView.of(found)


@router.post("/users/{user_id}/disable", responses=fails(last_admin=409, **CHANGES))
async def disable(user_id: Id, author: ByAdmin, services: Served) -> AccountView:
    """Let nobody sign in to an account any more; its sessions end, and its libraries stay."""
    return AccountView.of(await services.administration.disable(user_id, author, now=services.clock()))


@router.post("/users/{user_id}/enable", responses=fails(**CHANGES))
async def enable(user_id: Id, author: ByAdmin, services: Served) -> AccountView:
    """Let an account be signed in to again."""
    return AccountView.of(await services.administration.enable(user_id, author, now=services.clock()))


@router.delete("/users/{user_id}/sessions", status_code=204, responses=fails(**CHANGES))
async def end_sessions(user_id: Id, author: ByAdmin, services: Served) -> Response:
    """End all sessions of an account: every device has to sign in again."""
    await services.administration.end_sessions(user_id, author, now=services.clock())
    return Response(status_code=204)


@router.put("/users/{user_id}/role", responses=fails(last_admin=409, **CHANGES, **_FORM))
async def set_role(user_id: Id, body: RoleBody, author: ByAdmin, services: Served) -> AccountView:
    """Make an account an administrator's, or an ordinary one."""
    return AccountView.of(await services.administration.set_role(user_id, body.role, author, now=services.clock()))


@router.delete("/users/{user_id}", status_code=204, responses=fails(last_admin=409, **CHANGES))
async def delete(user_id: Id, author: ByAdmin, services: Served) -> Response:
    """Delete an account and every library that it owns, for good."""
    await services.administration.delete(user_id, author, now=services.clock())
    return Response(status_code=204)


@router.get("/audit", responses=fails(**READS))
async def read_audit(
    _: Admin,
    services: Served,
    user: Annotated[Id | None, Query(description="only what concerns this account")] = None,
    event: Annotated[Known | None, Query(description="only this kind")] = None,
    since: Annotated[Since | None, Query(description="not before this")] = None,
    before: BeforeEntry = None,
    limit: Limit = 50,
) -> AuditPage:
    """What was noted of accounts: who did what, when, and from where."""
    async with services.database.acquire() as connection:
        found = await audit.page(connection, user_id=user, event=event, since=since, before=before, limit=limit + 1)
    shown = found[:limit]
    return AuditPage(entries=[AuditEntryView.of(entry) for entry in shown], next_before=shown[-1].id if len(found) > limit else None)


def _cursor(facts: Facts) -> str:
    micros = (facts.user.created_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(_PLACE.pack(micros, facts.user.id.bytes)).decode()


def _place(cursor: str) -> tuple[datetime, UUID]:
    try:
        micros, user_id = _PLACE.unpack(base64.b64decode(cursor, altchars=b"-_", validate=True))
        return _EPOCH + timedelta(microseconds=micros), UUID(bytes=user_id)
    except (binascii.Error, struct.error, OverflowError, ValueError):
        raise InvalidCursor("not a cursor") from None
