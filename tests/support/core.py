"""The core without sockets, on a real database: rooms, shelf and writer, and devices and callers made of a few lines."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid4

from crdt.seed import SEED
from crdt.updates import Inspected, inspect
from protocol import ysync
from protocol.closes import Close
from server.batch import Entry, Refusal
from server.broadcast import STOCK, Shown, Updates
from server.follower import Follower
from server.rooms import Room, Rooms
from server.shelf import Shelf
from server.workers import Workers
from server.writer import Writer
from storage import libraries
from storage.cipher import DataKey, library_key_place, update_place
from storage.keyring import EncryptionKey, Keyring
from storage.pool import Connection, Database
from tests.support.born import make_older

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WAIT_SECONDS = 30.0
MIB = 1 << 20


async def until(condition: Callable[[], bool], what: str = "the condition", *, within: float = WAIT_SECONDS) -> None:
    """Wait until `condition` holds; raise AssertionError naming `what` after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {within} s")
        await asyncio.sleep(0.002)


async def eventually(question: Callable[[], Awaitable[bool]], what: str, *, within: float = WAIT_SECONDS) -> None:
    """The same for a question that has to be awaited."""
    deadline = time.monotonic() + within
    while not await question():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {within} s")
        await asyncio.sleep(0.005)


def new_keyring() -> Keyring:
    """A keyring with one fresh key."""
    return Keyring([EncryptionKey(id="k1", created_at=NOW, key=DataKey.new(os.urandom(32)))])


async def store_user(connection: Connection) -> UUID:
    """A user, as bare as the schema allows."""
    user_id = uuid4()
    await connection.execute(
        "INSERT INTO users (id, email, email_key, name, library_id, wrapped_key, key_id) VALUES ($1, $2, $2, '', $3, '', 'k1')",
        user_id,
        f"{user_id.hex}@example.com",
        uuid4(),
    )
    return user_id


class Told:
    """An origin that remembers what became of each entry, in the order it was told."""

    def __init__(self) -> None:
        self.outcomes: dict[Entry, int | Refusal] = {}
        self.acknowledged: list[Entry] = []
        self.repeated: list[Entry] = []

    def stored(self, entry: Entry, seq: int) -> None:
        self._tell(entry, seq)
        self.acknowledged.append(entry)

    def redundant(self, entry: Entry, head: int) -> None:
        self._tell(entry, head)
        self.acknowledged.append(entry)
        self.repeated.append(entry)

    def refused(self, entry: Entry, refusal: Refusal) -> None:
        self._tell(entry, refusal)

    def _tell(self, entry: Entry, outcome: int | Refusal) -> None:
        assert entry not in self.outcomes, f"told twice: {self.outcomes[entry]}, then {outcome}"
        self.outcomes[entry] = outcome


@dataclass(eq=False)
class Listener:
    """A member of a room that keeps what it is sent."""

    user_id: UUID = field(default_factory=uuid4)
    session_id: UUID = field(default_factory=uuid4)
    frames: bytearray = field(default_factory=bytearray)
    closed: tuple[Close, str] | None = None

    def relay(self, updates: Updates) -> None:
        self.frames += updates.frames(STOCK)

    def show(self, shown: Shown) -> None:
        self.frames += shown.frames(STOCK)

    def close(self, code: Close, reason: str) -> None:
        self.closed = self.closed or (code, reason)

    @property
    def updates(self) -> list[bytes]:
        """The updates that were relayed, in order."""
        return updates_in(bytes(self.frames))


def payloads_in(frames: bytes) -> list[bytes]:
    """The payloads of unmasked frames that lie one after the other."""
    found, at = [], 0
    while at < len(frames):
        size, at = frames[at + 1], at + 2
        if size == 126:
            size, at = int.from_bytes(frames[at : at + 2], "big"), at + 2
        elif size == 127:
            size, at = int.from_bytes(frames[at : at + 8], "big"), at + 8
        found.append(frames[at : at + size])
        at += size
    return found


def updates_in(frames: bytes) -> list[bytes]:
    """The updates carried by unmasked frames."""
    messages = [ysync.decode(payload) for payload in payloads_in(frames)]
    return [message.update for message in messages if isinstance(message, ysync.Update)]


class Core:
    """One server's rooms, shelf and writer. `running` starts it."""

    def __init__(
        self, dsn: str, database: Database, keyring: Keyring, *, queue_bytes: int, room_cache_bytes: int, cache_bytes: int
    ) -> None:
        self.dsn = dsn
        self.database = database
        self.keyring = keyring
        self.workers = Workers(1)
        self.shelf = Shelf(database, keyring, self.workers, cache_bytes=cache_bytes)
        self.rooms = Rooms(self.shelf.room, room_cache_bytes)
        self.connects = 0
        self.stored_rooms: list[Room] = []
        self.follower = Follower(database, self.rooms, self.shelf, tell=lambda: self.writer.tell())
        self.writer = Writer(
            database,
            self.rooms,
            follower=self.follower,
            connected=self._connected,
            stored=self.stored_rooms.append,
            queue_bytes=queue_bytes,
        )
        self.told = Told()
        self._work: asyncio.Task[None] | None = None

    async def _connected(self) -> None:
        self.connects += 1

    def start(self) -> None:
        """Let the writer run."""
        self._work = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.writer.run())
            group.create_task(self.follower.run())

    async def stop(self) -> None:
        """End the writer amid whatever it does."""
        if self._work is not None:
            work, self._work = self._work, None
            work.cancel()
            _, running = await asyncio.wait({work}, timeout=5)
            assert not running, "the writer does not end"

    async def library(self) -> UUID:
        """A library of a new user with an empty log: what is tried here is how a log grows, whatever is in it."""
        async with self.database.transaction() as connection:
            owner = await store_user(connection)
            library = libraries.new(
                library_id=uuid4(), owner_id=owner, name="", first_update=SEED, keyring=self.keyring, random=os.urandom, now=NOW
            )
            await libraries.create(connection, library)
            await make_older(connection, library.id)
        return library.id

    async def room(self, library_id: UUID | None = None) -> Room:
        """An open room, of a new library if none is named."""
        return await self.rooms.open(library_id or await self.library())

    async def joined(self, library_id: UUID | None = None) -> tuple[Room, Listener]:
        """An open room with somebody in it."""
        room, listener = await self.room(library_id), Listener()
        self.rooms.join(room, listener)
        return room, listener

    def submit(self, room: Room, update: bytes, *, may_write: bool = True, inspected: Inspected | None = None) -> Entry:
        """Hand an update to the writer."""
        entry = Entry(room, update, inspected or inspect(update), None, may_write, self.told)
        self.writer.submit(entry)
        return entry

    async def settled(self, *entries: Entry, within: float = WAIT_SECONDS) -> list[int | Refusal]:
        """What became of these entries, once all of it is known."""
        await until(lambda: all(entry in self.told.outcomes for entry in entries), "the outcome of every update", within=within)
        return [self.told.outcomes[entry] for entry in entries]

    async def push(self, room: Room, *updates: bytes) -> list[int | Refusal]:
        """Hand updates to the writer and wait for what becomes of them."""
        return await self.settled(*(self.submit(room, update) for update in updates))

    async def log(self, library_id: UUID) -> list[tuple[int, bytes]]:
        """What the database holds of a library: each row's seq and its opened update."""
        async with self.database.acquire() as connection:
            library = await connection.fetchrow("SELECT head, wrapped_key, key_id FROM libraries WHERE id = $1", library_id)
            rows = await connection.fetch("SELECT seq, epoch, sealed FROM updates WHERE library_id = $1 ORDER BY seq", library_id)
        assert library is not None
        key = self.keyring.unwrap(library["key_id"], library["wrapped_key"], library_key_place(library_id))
        assert [row["seq"] for row in rows] == list(range(rows[0]["seq"], library["head"] + 1)) if rows else library["head"] == 0
        return [(row["seq"], key.open(row["sealed"], update_place(library_id, row["epoch"], row["seq"]))) for row in rows]

    async def stored(self, library_id: UUID) -> list[bytes]:
        """The updates in the database, in order."""
        return [update for _, update in await self.log(library_id)]

    async def execute(self, statement: str, *arguments: object) -> str:
        """Change something behind the server's back."""
        async with self.database.acquire() as connection:
            return str(await connection.execute(statement, *arguments))

    async def fetchval(self, statement: str, *arguments: object) -> object:
        async with self.database.acquire() as connection:
            return await connection.fetchval(statement, *arguments)


@asynccontextmanager
async def core(
    dsn: str,
    *,
    keyring: Keyring | None = None,
    queue_bytes: int = 64 * MIB,
    room_cache_bytes: int = 8 * MIB,
    cache_bytes: int = 64 * MIB,
    start: bool = True,
) -> AsyncIterator[Core]:
    """A running core over this database; a second one with the same keyring is another process to it."""
    database = await Database.open(dsn, size=4)
    made = Core(
        dsn, database, keyring or new_keyring(), queue_bytes=queue_bytes, room_cache_bytes=room_cache_bytes, cache_bytes=cache_bytes
    )
    if start:
        made.start()
    try:
        yield made
    finally:
        await made.stop()
        made.workers.close()
        await database.close()


def typed(text: str, client: int, clock: int) -> bytes:
    """An edit by hand: client `client` types ASCII `text` at clock `clock`, after what it typed before (nothing at clock 0)."""
    place = b"\x84" + varint(client) + varint(clock - 1) if clock else b"\x04\x01\x01t"  # to the right of what is there, or in the root "t"
    struct = place + varint(len(text)) + text.encode()
    return b"\x01\x01" + varint(client) + varint(clock) + struct + b"\x00"


def deleted(client: int, clock: int, length: int) -> bytes:
    """An edit by hand: `length` clocks of `client` from `clock` on are deleted."""
    return b"\x00\x01" + varint(client) + b"\x01" + varint(clock) + varint(length)


def typing(client: int, count: int, *, start: int = 0) -> list[bytes]:
    """`count` edits of one character each, from clock `start` on."""
    return [typed(chr(97 + clock % 26), client, clock) for clock in range(start, start + count)]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def spans(held: Sequence[int]) -> list[tuple[int, int, int]]:
    """Flat triples as tuples."""
    return [(held[at], held[at + 1], held[at + 2]) for at in range(0, len(held), 3)]
