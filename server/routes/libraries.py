"""`/api/libraries`: a user's libraries. What one may not see answers like what does not exist."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from auth import permissions
from auth.errors import Forbidden, SessionEnded
from crdt.seed import SEED
from server.claim import Claim
from server.errors import OwnLibrary, TooManyLibraries
from server.problems import fails
from server.purge import enqueue_purge
from server.routes.asking import SIGNED_IN, Asking, Served
from server.routes.creating import ONCE, Claimed, CreatingRoute
from server.routes.texts import Body, Id, Name
from storage import libraries, users
from storage.errors import NotFound
from storage.libraries import Library, NewLibrary, Role
from storage.pool import Connection

router = APIRouter(prefix="/api/libraries", tags=["libraries"], route_class=CreatingRoute)

MAX_LIBRARIES = 1000
"""Libraries one user may own: the list is answered whole."""
_FORM = {"malformed_json": 400, "too_large": 413, "unsupported_media_type": 415, "invalid_request": 422}


class LibraryBody(Body):
    """What a library is created with."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Work"}]})

    name: Name


class LibraryView(BaseModel):
    """A library as the asking member sees it. Its id names it on `GET /sync/{id}` too."""

    id: UUID
    name: str
    role: Role
    created_at: datetime

    @classmethod
    def of(cls, library: Library) -> "LibraryView":
        return cls(id=library.id, name=library.name, role=library.role, created_at=library.created_at)


class LibraryList(BaseModel):
    """Every library of a user, oldest first."""

    libraries: list[LibraryView]


@router.post("", status_code=201, responses=fails(too_many_libraries=409, not_found=404, **SIGNED_IN, **_FORM, **ONCE))
async def create(body: LibraryBody, asking: Asking, claim: Claimed, services: Served, response: Response) -> LibraryView:
    """Make a library that belongs to the asking user. 404: this request made it before, and it was deleted since."""
    library = libraries.new(
        library_id=claim.id_for(0),
        owner_id=asking.user.id,
        name=body.name,
        first_update=SEED,
        keyring=services.keyring,
        random=services.random,
        now=claim.now,
    )
    async with services.database.transaction() as connection:
        # without the lock, requests that run at once would all count the same number
        if not await users.lock(connection, asking.user.id):
            raise SessionEnded  # deleted meanwhile
        created = await libraries.for_user(connection, library.id, asking.user.id)
        if created is None:
            created = await _create(connection, library, claim)
    response.headers["Location"] = f"/api/libraries/{created.id}"
    return LibraryView.of(created)


async def _create(connection: Connection, library: NewLibrary, claim: Claim) -> Library:
    if claim.was_done:
        raise NotFound
    if await libraries.count_of_owner(connection, library.owner_id) >= MAX_LIBRARIES:
        raise TooManyLibraries
    await claim.mark(connection)
    return await libraries.create(connection, library)


@router.get("", responses=fails(**SIGNED_IN))
async def list_all(asking: Asking, services: Served) -> LibraryList:
    """The libraries that the asking user is a member of."""
    async with services.database.acquire() as connection:
        found = await libraries.of_user(connection, asking.user.id)
    return LibraryList(libraries=[LibraryView.of(library) for library in found])


@router.get("/{library_id}", responses=fails(not_found=404, **SIGNED_IN))
async def get(library_id: Id, asking: Asking, services: Served) -> LibraryView:
    """One library."""
    async with services.database.acquire() as connection:
        library = await libraries.for_user(connection, library_id, asking.user.id)
    if library is None:
        raise NotFound
    return LibraryView.of(library)


@router.delete("/{library_id}", status_code=204, responses=fails(forbidden=403, not_found=404, own_library=409, **SIGNED_IN))
async def delete(library_id: Id, asking: Asking, services: Served) -> Response:
    """Delete a library: hidden from everyone at once, destroyed soon after."""
    async with services.database.transaction() as connection:
        library = await libraries.for_user(connection, library_id, asking.user.id)
        if library is None:
            raise NotFound
        if not permissions.may_delete(library.role):
            raise Forbidden
        if library_id == asking.user.library_id:
            raise OwnLibrary
        if not await libraries.mark_deleted(connection, library_id, now=services.clock()):
            raise NotFound
        await enqueue_purge(connection, library_id)
    services.hooks.library_deleted(library_id)
    return Response(status_code=204)
