"""A library as it stands now, for requests whose bodies are long on their way."""

from dataclasses import replace
from uuid import UUID

from auth.errors import SessionEnded
from server.services import Services
from storage.errors import NotFound
from storage.libraries import Library
from storage.standings import standings


async def as_it_stands(services: Services, library: Library, session_id: UUID) -> Library:
    """The library, where it stands and the role in it now: the body may have been minutes on its way, and a revoked session must not write.

    Raises:
        SessionEnded: the session was revoked or is over.
        NotFound: the library is deleted, or the user is no member any more.
    """
    async with services.database.acquire() as connection:
        known = await standings(connection, [(session_id, library.id)])
    standing = known.get((session_id, library.id))
    if standing is None:
        raise SessionEnded
    if standing.role is None or standing.place is None:
        raise NotFound
    return replace(library, role=standing.role, head=standing.place.head, epoch=standing.place.epoch)
