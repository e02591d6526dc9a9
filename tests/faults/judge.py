"""Afterwards: is everything there that anybody was told or shown? Asked of the database itself, and of a device that has nothing."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

import asyncpg

from crdt.knowledge import Knowledge
from crdt.updates import decode_state_vector, inspect
from storage.cipher import DataKey, knowledge_place, library_key_place, snapshot_place, update_place
from storage.keyfile import KeyFile
from tests.faults.writers import Device, Library, close_libraries, lost, read
from tests.support.server import Server

SHOWN_SECONDS = 30.0
"""A process may show late what another has stored (a lost message costs time), but not later than this."""

_LIBRARY = "SELECT head, key_id, wrapped_key FROM libraries WHERE id = $1"
_SNAPSHOT = (
    "SELECT seq, epoch, sealed, sealed_knowledge FROM snapshots WHERE library_id = $1 AND verified_at IS NOT NULL ORDER BY seq DESC LIMIT 1"
)
_UPDATES = "SELECT seq, epoch, sealed FROM updates WHERE library_id = $1 ORDER BY seq"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a case came to. Counts are of updates."""

    acknowledged: int = 0
    seen: int = 0
    lost: int = 0
    duplicates: int = 0
    recovery: float = 0.0
    """Seconds from the fault until everybody was online again and all that was written was stored."""
    bystander: float = 0.0
    """p99 in milliseconds of somebody in another library meanwhile; 0 where nobody was asked."""

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(
            acknowledged=self.acknowledged + other.acknowledged,
            seen=self.seen + other.seen,
            lost=self.lost + other.lost,
            duplicates=self.duplicates + other.duplicates,
            recovery=max(self.recovery, other.recovery),
            bystander=max(self.bystander, other.bystander),
        )

    def check(self, *, duplicates: bool = False, bystander: float | None = None) -> None:
        """Raise AssertionError when anything is lost; or stored twice, unless `duplicates`; or somebody else waited `bystander` ms."""
        assert not self.lost, self
        assert duplicates or not self.duplicates, self
        assert bystander is None or self.bystander < bystander, self


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database holds of a library: all of it, and how many of the kept rows add nothing to those before them."""

    knowledge: Knowledge
    duplicates: int


class Archive:
    """The database and the key file, read without any server."""

    def __init__(self, dsn: str, keys: Path) -> None:
        self._dsn, self._keys = dsn, keys

    @classmethod
    def of(cls, server: Server) -> "Archive":
        """That of a server with an embedded PostgreSQL."""
        return cls(server.facts()["database"], server.data_dir / "keys.json")

    async def stored(self, library: str) -> Stored:
        """Read a library from its newest verified snapshot and the rows after it. AssertionError when the log has a gap."""
        connection = await asyncpg.connect(self._dsn)
        try:
            async with connection.transaction(isolation="repeatable_read"):
                head = await connection.fetchrow(_LIBRARY, UUID(library))
                snapshot = await connection.fetchrow(_SNAPSHOT, UUID(library))
                rows = await connection.fetch(_UPDATES, UUID(library))
        finally:
            await connection.close()
        assert head is not None, "the library is gone"
        key = KeyFile.load(self._keys).keyring.unwrap(head["key_id"], head["wrapped_key"], library_key_place(UUID(library)))
        return await asyncio.to_thread(_read, UUID(library), key, head["head"], snapshot, rows)

    async def log(self, library: str) -> list[bytes]:
        """The updates of a library that was never compacted, in order."""
        connection = await asyncpg.connect(self._dsn)
        try:
            head, rows = await connection.fetchrow(_LIBRARY, UUID(library)), await connection.fetch(_UPDATES, UUID(library))
        finally:
            await connection.close()
        assert head is not None, "the library is gone"
        assert [row["seq"] for row in rows] == list(range(1, head["head"] + 1))
        key = KeyFile.load(self._keys).keyring.unwrap(head["key_id"], head["wrapped_key"], library_key_place(UUID(library)))
        return [key.open_in_slices(row["sealed"], update_place(UUID(library), row["epoch"], row["seq"])) for row in rows]


def _read(library: UUID, key: DataKey, head: int, snapshot: "asyncpg.Record | None", rows: "list[asyncpg.Record]") -> Stored:
    held, since = Knowledge(), 0
    if snapshot is not None:
        since = snapshot["seq"]
        held.learn(inspect(key.open_in_slices(snapshot["sealed"], snapshot_place(library, snapshot["epoch"], since))))
        kept = Knowledge.unpack(key.open(snapshot["sealed_knowledge"], knowledge_place(library, snapshot["epoch"], since)))
        assert kept == held, "the snapshot's knowledge is not that of its bytes"
    seqs = [row["seq"] for row in rows]
    first = seqs[0] if seqs else since + 1
    assert first <= since + 1, f"rows begin at {first}, the snapshot ends at {since}"
    assert seqs == list(range(first, head + 1)), f"the log has a gap below {head}"
    duplicates, kept_rows = 0, Knowledge()
    for row in rows:
        inspected = inspect(key.open_in_slices(row["sealed"], update_place(library, row["epoch"], row["seq"])))
        duplicates += not kept_rows.adds(inspected)
        kept_rows.learn(inspected)
        held.learn(inspected)
    return Stored(held, duplicates)


async def judge(libraries: Sequence[Library], archive: Archive, fresh: Sequence[Server]) -> Verdict:
    """Look for everything anybody was told or shown: in the database, and on a new device at each of the processes `fresh`.

    Call it before any device that was cut off comes back: it would bring along what is missing.
    """
    verdict = Verdict()
    for library in libraries:
        told = library.told
        stored = await archive.stored(library.id)
        missing = {update for update in told if stored.knowledge.adds(read(update))}
        for server in fresh:
            missing |= await not_shown(library, told, server)
        verdict += Verdict(acknowledged=library.acknowledged, seen=library.shown, lost=len(missing), duplicates=stored.duplicates)
    return verdict


async def not_shown(library: Library, told: Iterable[bytes], server: Server) -> set[bytes]:
    """What of `told` a new device at this process is not given, however long it waits."""
    new = await library.opened_by_a_new_device(server)
    deadline = time.monotonic() + SHOWN_SECONDS
    while (missing := lost(told, new)) and time.monotonic() < deadline:
        before = len(new.wire.shown)
        with suppress(AssertionError):  # when nothing comes, the deadline decides
            await new.wire.until(partial(_more_than, before, new.wire.shown), within=1.0)
    await new.wire.disconnect()
    return set(missing)


def _more_than(count: int, values: Sequence[object]) -> bool:
    return len(values) > count


async def converge(libraries: Sequence[Library]) -> None:
    """The devices come back, hand over what was not stored, and all hold the same, a new one at each process too."""
    for library in libraries:
        await asyncio.gather(*(device.come_back() for device in library.devices))
    for library in libraries:
        for device in library.devices:
            await device.wire.confirmed()
        new = [await library.opened_by_a_new_device(server) for server in library.servers]
        await library.wait_until_converged([*library.devices, *new])
        await _agree([*library.devices, *new])
        for device in new:
            await device.wire.disconnect()
    await close_libraries(libraries)


async def _agree(devices: Sequence[Device]) -> None:
    """Wait until all hold the same structs and the same texts."""
    whole: dict[int, int] = {}
    for device in devices:
        for client, clock in _vector(device).items():
            whole[client] = max(clock, whole.get(client, 0))
    for device in devices:
        await device.wire.until(partial(_holds, device, whole), what=f"every struct on {device.name}")
    for device in devices[1:]:
        await device.wire.until(partial(_reads_as, device, devices[0]), what=f"the texts of {devices[0].name} on {device.name}")


def _holds(device: Device, whole: dict[int, int]) -> bool:
    return _vector(device) == whole


def _reads_as(device: Device, other: Device) -> bool:
    return device.replica.prompts() == other.replica.prompts()


def _vector(device: Device) -> dict[int, int]:
    return decode_state_vector(device.replica.state_vector())


async def confirmed(libraries: Sequence[Library], *, within: float = 60.0) -> None:
    """Wait until everybody is online again and everything written is acknowledged."""
    for library in libraries:
        for device in library.devices:
            await device.wire.until(partial(_settled, device), within=within, what=f"the recovery of {device.name}")


def _settled(device: Device) -> bool:
    return device.wire.online and not device.wire.unconfirmed
