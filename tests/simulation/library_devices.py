"""Devices that edit a real library beside REST: on a socket, or handing over what they have made whenever they get to it."""

import random
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import httpx2

from crdt.operations import (
    NewPrompt,
    NewVersion,
    add_tags,
    add_version,
    count_use,
    create_prompt,
    delete_prompt,
    edit_original,
    edit_version,
    purge_prompt,
    restore_prompt,
    set_fields,
)
from crdt.updates import EMPTY_UPDATE, merge
from tests.simulation.ledger import Ledger, Meant
from tests.support.library_replica import LibraryReplica, pull, store
from tests.support.pair import Pair
from tests.support.wire_client import WireClient

OWN_FIELDS = ("description", "pinned")
"""Registers that devices set: the first one the first field, the second one the second."""


class EditingDevice:
    """What every device does to its copy. `change` is one thing; how it gets to the server is for the two kinds."""

    def __init__(self, name: str, number: int, ledger: Ledger, source: random.Random) -> None:
        self.name = name
        self.replica = LibraryReplica(client_id=source.getrandbits(31))  # the server's are above
        self._field = OWN_FIELDS[number] if number < len(OWN_FIELDS) else None
        self._ledger = ledger
        self._random = source
        self._now = number

    @property
    def idle(self) -> bool:
        """Whether nothing of it is on its way."""
        raise NotImplementedError

    async def edit(self) -> None:
        """Do one thing to the library, and send it if that is what it does at once."""
        known = self._ledger.living(self.replica.view.prompt_ids())
        self._now += 10
        if not known or self._random.random() < 0.12:
            await self.send(self._create())
            return
        ways = (self._type, self._type, self._type, self._optimise, self._tag, self._set, self._bin, self._use)
        change: Callable[[str], bytes] = self._random.choice(ways) if self._random.random() > 0.02 else self._purge
        if (update := change(self._random.choice(known))) != EMPTY_UPDATE:
            await self.send(update)

    async def send(self, update: bytes) -> None:
        raise NotImplementedError

    def _create(self) -> bytes:
        prompt_id, mark = self._ledger.name(f"by-{self.name}"), self._ledger.mark(self.name)
        self._ledger.prompts[prompt_id] = Meant(texts={mark})
        new = NewPrompt(id=prompt_id, title="device's", created_at=self._now, device=self.name, order="a0", original=f"写 {mark} end")
        return create_prompt(self.replica.library, new)

    def _type(self, prompt_id: str) -> bytes:
        mark = self._ledger.mark(self.name)
        self._ledger.prompts[prompt_id].texts.add(mark)
        return edit_original(self.replica.library, prompt_id, self._ledger.put_in(self.replica.view.original(prompt_id), mark))

    def _optimise(self, prompt_id: str) -> bytes:
        state = self.replica.view.full(prompt_id)
        assert state is not None
        mark, current = self._ledger.mark(self.name), state.prompt.current
        self._ledger.prompts[prompt_id].versions.add(mark)
        text = self._ledger.put_in(state.optimized, mark)
        if current is not None and self._random.random() < 0.7:
            return edit_version(self.replica.library, current, text)
        version = NewVersion(id=self._ledger.name(f"v-{self.name}"), text=text, kind="edit", at=self._now, device=self.name, parent=current)
        return add_version(self.replica.library, prompt_id, version)

    def _tag(self, prompt_id: str) -> bytes:
        tag = self._ledger.name(f"标签{self.name}")
        self._ledger.prompts[prompt_id].tags.add(tag)
        return add_tags(self.replica.library, prompt_id, [tag])

    def _set(self, prompt_id: str) -> bytes:
        if self._field is None:
            return EMPTY_UPDATE
        value = self._ledger.name("描述") if self._field == "description" else self._random.random() < 0.5
        self._ledger.prompts[prompt_id].fields[self._field] = value
        return set_fields(self.replica.library, prompt_id, {self._field: value})

    def _bin(self, prompt_id: str) -> bytes:
        prompt = self.replica.view.prompt(prompt_id)
        assert prompt is not None
        if prompt.deleted_at is None:
            return delete_prompt(self.replica.library, prompt_id, self._now)
        return restore_prompt(self.replica.library, prompt_id)

    def _use(self, prompt_id: str) -> bytes:
        return count_use(self.replica.library, prompt_id, self.name)

    def _purge(self, prompt_id: str) -> bytes:
        self._ledger.prompts[prompt_id].doomed = True
        return purge_prompt(self.replica.library, prompt_id)


class SocketDevice(EditingDevice):
    """On the y-websocket dialect, now at one server, now at the other, now offline."""

    def __init__(self, name: str, number: int, ledger: Ledger, source: random.Random, pair: Pair) -> None:
        super().__init__(name, number, ledger, source)
        self._pair = pair
        self.wire: WireClient = pair.one.device(pair.user, replica=self.replica)

    @property
    def idle(self) -> bool:
        return not self.wire.online or not self.wire.unconfirmed

    async def send(self, update: bytes) -> None:
        await self.wire.push(update)

    async def move(self) -> None:
        """Go offline, or come online somewhere."""
        if self.wire.online:
            await self.wire.disconnect()
        else:
            self.wire.move(self._random.choice((self._pair.one, self._pair.other)).sync_url)
            await self.wire.reconnect(within=20)

    async def settle(self) -> None:
        """Hand over everything, wait until the server has said that it is stored, and take over what is lacking."""
        await self.wire.reconnect()
        await self.wire.confirmed()
        await self.wire.reconnect()  # Yrs may have lost sight of what came in another order than it was made


class UploadingDevice(EditingDevice):
    """Hands over by `POST /api/sync`: late, in any order, some of it again, some merged; maybe with gaps that stay for a while."""

    def __init__(
        self, name: str, number: int, ledger: Ledger, source: random.Random, library_id: UUID, clients: list[httpx2.AsyncClient]
    ) -> None:
        super().__init__(name, number, ledger, source)
        self._library_id, self._clients = library_id, clients
        self.leaves_gaps = False
        self._waiting: list[bytes] = []
        self._sent: list[bytes] = []

    @property
    def idle(self) -> bool:
        return True  # nothing goes out by itself

    async def send(self, update: bytes) -> None:
        self._waiting.append(update)

    async def move(self) -> None:
        """Hand over some of what it has made, and take over what it lacks."""
        if self.leaves_gaps:
            self._random.shuffle(self._waiting)
        chosen = self._waiting[: self._random.randrange(len(self._waiting) + 1)]
        self._random.shuffle(chosen)
        if self._sent and self._random.random() < 0.3:
            chosen.append(self._random.choice(self._sent))
        if len(chosen) > 1 and self._random.random() < 0.3:
            await self._upload(merge(chosen[:2]), chosen[:2])
            del chosen[:2]
        for update in chosen:
            await self._upload(update, [update])
        if self._random.random() < 0.6:
            await pull(self._random.choice(self._clients), self._library_id, self.replica)

    async def _upload(self, update: bytes, parts: list[bytes]) -> None:
        answer = await store(self._random.choice(self._clients), self._library_id, update)
        assert answer.status_code == 200, answer.text
        for part in parts:
            with suppress(ValueError):  # one that is sent again
                self._waiting.remove(part)
            self._sent.append(part)

    async def settle(self) -> None:
        """Hand over everything, and take over what it lacks."""
        for update in tuple(self._waiting):
            await self._upload(update, [update])
        await pull(self._random.choice(self._clients), self._library_id, self.replica)
