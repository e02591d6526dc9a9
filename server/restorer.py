"""A library as it was, made again as an edit: the state is read from a restore point, and one of the state before it is kept first."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import structlog

from crdt.errors import InvalidUpdate
from server.batch import SLICED_BYTES
from server.compactor import Compactor, Kind
from server.documents import DOCUMENT_BYTES, SMALL_BYTES
from server.editor import Edited, Editor
from server.errors import DocumentTooLarge, TryLater
from server.intents import restoring
from server.shelf import BREATH_ROWS, opened
from server.times import ms
from server.workers import Workers
from storage import restore_points, snapshots
from storage.cipher import library_key_place, snapshot_place
from storage.errors import NotFound
from storage.keyring import Keyring
from storage.libraries import Library
from storage.pool import Database
from storage.restore_points import Past
from storage.snapshots import Described

log = structlog.get_logger(__name__)

T = TypeVar("T")

MOST_PINNED = 20
"""Restore points of a library that were kept before a restore; past it the oldest goes the way of all snapshots."""
BUSY_TRIES, BUSY_SECONDS = 10, 0.5
"""How often, and how far apart, it is tried to keep the present state while the library is compacted elsewhere; past it: 503."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore has changed, or would: the state that it went to, where that is committed, and the point to go back by."""

    as_of: datetime
    point: int
    changes: Mapping[str, Any]
    seq: int | None
    undo: int | None


class _Kept(NamedTuple):
    """A restore point that is kept, and whether it was not before."""

    seq: int
    is_new: bool


class Restorer:
    """Restores the libraries of this server."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        workers: Workers,
        editor: Editor,
        compactor: Compactor,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._workers = workers
        self._editor = editor
        self._compactor = compactor
        self._clock = clock

    async def points(self, library_id: UUID) -> Sequence[Described]:
        """The library's restore points, newest first."""
        async with self._database.acquire() as connection:
            found = await snapshots.of_library(connection, library_id)
        return [each for each in reversed(found) if each.verified_at is not None]

    async def preview(self, library: Library, wanted: int | datetime) -> Restored:
        """What going back to a restore point, or to a moment, would change.

        Raises:
            NotFound: there is no such point, or nothing is kept of that time.
            as `Editor.read`.
        """
        past, content = await self._past(library.id, wanted)
        changes = await self._editor.read(
            library, partial(restoring.preview, past=content, now=ms(self._clock())), away=len(content) > SMALL_BYTES
        )
        return Restored(as_of=past.as_of, point=past.seq, changes=changes, seq=None, undo=None)

    async def restore(self, library: Library, wanted: int | datetime, *, session_id: UUID) -> Restored:
        """Make the library what it was. What it is now is kept before as a restore point.

        Raises:
            Forbidden: the member may not write.
            NotFound: there is no such point, or nothing is kept of that time.
            as `Editor.edit`.
        """
        past, content = await self._past(library.id, wanted)
        kept = await self._keep(library.id)
        change = partial(restoring.restore, past=content, now=ms(self._clock()))
        edited: Edited[Mapping[str, Any]] = await self._editor.edit(library, change, session_id=session_id, away=len(content) > SMALL_BYTES)
        undo = await self._keep_up_to(library.id, kept, edited.seq - 1)
        log.info("library_put_back", library=str(library.id), point=past.seq, seq=edited.seq, undo=undo)
        return Restored(as_of=past.as_of, point=past.seq, changes=edited.answer, seq=edited.seq, undo=undo)

    async def _past(self, library_id: UUID, wanted: int | datetime) -> tuple[Past, bytes]:
        async with self._database.acquire() as connection:
            if isinstance(wanted, datetime):
                past = await restore_points.at_time(connection, library_id, wanted)
            else:
                past = await restore_points.at_point(connection, library_id, wanted)
        content = await self._opened(library_id, past)
        if len(content) > DOCUMENT_BYTES:
            raise DocumentTooLarge
        return past, content

    async def _opened(self, library_id: UUID, past: Past) -> bytes:
        key = self._keyring.unwrap(past.key_id, past.wrapped_key, library_key_place(library_id))
        parts = []
        if past.snapshot is not None and past.snapshot.content is not None:
            place, sealed = snapshot_place(library_id, past.snapshot.epoch, past.snapshot.seq), past.snapshot.content
            large = len(sealed) > SLICED_BYTES
            parts.append(await asyncio.to_thread(key.open_in_slices, sealed, place) if large else key.open(sealed, place))
        for count, row in enumerate(past.tail, 1):
            parts.append(await opened(key, row, library_id))
            if count % BREATH_ROWS == 0:
                await asyncio.sleep(0)
        try:
            return await self._workers.merge(parts)
        except InvalidUpdate as error:
            raise TryLater from error

    async def _keep(self, library_id: UUID) -> _Kept:
        """A restore point of the library as it is at this moment, or later."""
        for _ in range(BUSY_TRIES):
            outcome = await self._compactor.compact(library_id)
            if outcome.kind in (Kind.COMPACTED, Kind.NOTHING):
                is_new = await self._pin(library_id, outcome.snapshot_seq)
                if is_new is not None:
                    return _Kept(outcome.snapshot_seq, is_new)
            if outcome.kind is Kind.MOVED:
                raise NotFound
            if outcome.kind in (Kind.TOO_LARGE, Kind.BROKEN):
                break
            await asyncio.sleep(BUSY_SECONDS)  # somebody else compacts it: there is nothing to wait for but time
        log.warning("restore_point_not_kept", library=str(library_id))
        raise TryLater

    async def _keep_up_to(self, library_id: UUID, kept: _Kept, seq: int) -> int:
        """Keep what others have written since as well; where that is not to be had, what was kept is what one can go back to."""
        if seq <= kept.seq:
            return kept.seq
        outcome = await self._compactor.compact(library_id, up_to=seq)
        if outcome.snapshot_seq != seq or await self._pin(library_id, seq) is None:
            return kept.seq
        if kept.is_new:  # else it is what another restore goes back by
            async with self._database.acquire() as connection:
                await restore_points.unpin(connection, library_id, kept.seq)
        return seq

    async def _pin(self, library_id: UUID, seq: int) -> bool | None:
        async with self._database.transaction() as connection:
            return await restore_points.pin(connection, library_id, seq, MOST_PINNED)
