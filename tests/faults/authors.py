"""REST clients and devices that edit one library on two processes at once, whatever happens to those, and keep count of the answers."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from typing import Any, Self
from uuid import UUID

import httpx2

from crdt.operations import edit_original
from crdt.view import View
from tests.faults.judge import Archive
from tests.simulation.ledger import Ledger, Meant, check_log, states_of
from tests.support.core import until
from tests.support.library_replica import LibraryReplica, newcomer
from tests.support.many import Node
from tests.support.plain_http import plain_client
from tests.support.server import Account
from tests.support.wire_client import WireClient

AGAIN_SECONDS = 0.05
"""Between two attempts at a request that got no answer, or was asked to come again."""
ANSWER_SECONDS = 15.0
FIRST_PROMPTS = 3
"""Each REST client makes so many before it edits: with few of them everybody would wait for everybody."""
COME_AGAIN = {"idempotency_in_progress", "try_later", "unavailable", "too_costly", "internal"}
"""What is answered while something is broken; the same request is sent again then."""


class Shared:
    """A library, its authors' ledger, and how to reach the processes."""

    def __init__(self, nodes: Sequence[Node], account: Account, source: random.Random) -> None:
        self.nodes, self.account, self.random = nodes, account, source
        self.ledger = Ledger(source)
        self.stopping = False
        self.clients: list[httpx2.AsyncClient] = []
        self._stack = AsyncExitStack()
        self.answered = self.unanswered = self.failed = 0
        self.titles: dict[str, str] = {}
        """The id of each prompt that was made, by its title."""

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self.account.access_token}"}
        for node in self.nodes:
            client = plain_client(base_url=node.url, headers=headers, timeout=ANSWER_SECONDS)
            self.clients.append(await self._stack.enter_async_context(client))
        return self

    async def __aexit__(self, *exit_: object) -> None:
        await self._stack.aclose()

    async def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> httpx2.Response:
        """The answer to a request, which is sent to any of the processes until one gives an answer that is no trouble."""
        while True:
            try:
                answer = await self.random.choice(self.clients).request(method, path, json=body, headers=headers)
                if answer.is_success or answer.json()["code"] not in COME_AGAIN:
                    return answer
                self.failed += 1
            except httpx2.TransportError:
                self.unanswered += 1
            await asyncio.sleep(AGAIN_SECONDS)

    async def more(self, count: int, *, within: float = 60.0) -> None:
        """Wait until so many more requests were answered with success."""
        wanted = self.answered + count
        await until(lambda: self.answered >= wanted, f"{count} more answers", within=within)


class Author:
    """A REST client that makes prompts and puts marks into them, one request after the other."""

    def __init__(self, shared: Shared, name: str) -> None:
        self._shared, self._name, self._keys = shared, name, count()

    async def write(self) -> None:
        """Until told to stop; what was begun is brought to its end."""
        for _ in range(FIRST_PROMPTS):
            await self._create()
        while not self._shared.stopping:
            await (self._create() if self._shared.random.random() < 0.2 else self._type())
            self._shared.answered += 1

    def _key(self) -> dict[str, str]:
        return {"Idempotency-Key": f"{self._name}-{next(self._keys)}"}

    async def _create(self) -> None:
        shared, title = self._shared, self._shared.ledger.name(self._name)
        mark = shared.ledger.mark(self._name)
        made = await shared.ask("POST", "/api/prompts", {"title": title, "original_text": f"写 {mark} end"}, self._key())
        assert made.status_code == 201, made.text
        shared.titles[title] = prompt_id = made.json()["id"]
        shared.ledger.prompts[prompt_id] = Meant(texts={mark}, fields={"title": title})

    async def _type(self) -> None:
        """Put a mark into a prompt; where the answer was lost, it is told by what is there."""
        shared = self._shared
        prompt_id, mark = shared.random.choice(list(shared.titles.values())), shared.ledger.mark(self._name)
        path = f"/api/prompts/{prompt_id}"
        current: dict[str, Any] = {}
        while mark not in current.get("original_text", ""):
            found = await shared.ask("GET", path)
            assert found.status_code == 200, found.text
            text = shared.ledger.put_in(found.json()["original_text"], mark)
            if mark in found.json()["original_text"]:
                break
            answer = await shared.ask("PATCH", path, {"original_text": text}, self._key() | {"If-Match": found.headers["etag"]})
            assert answer.status_code in (200, 412), answer.text
            current = answer.json()["current"] if answer.status_code == 412 else answer.json()
        shared.ledger.prompts[prompt_id].texts.add(mark)


class Typist:
    """A device that types marks into the prompts it sees, at one process after the other."""

    def __init__(self, shared: Shared, name: str) -> None:
        self._shared, self._name = shared, name
        self.replica = LibraryReplica(client_id=shared.random.getrandbits(31))
        self.wire = WireClient(shared.nodes[0].sync_url, shared.account.library_id, shared.account.sync_token, self.replica)

    async def write(self) -> None:
        """Until told to stop."""
        while not self._shared.stopping:
            if not self.wire.online:
                await self.come()
            known = [prompt for prompt in self.replica.view.prompt_ids() if prompt in self._shared.ledger.prompts]
            if known:
                await self._type(self._shared.random.choice(sorted(known)))
            await asyncio.sleep(AGAIN_SECONDS)

    async def _type(self, prompt_id: str) -> None:
        mark = self._shared.ledger.mark(self._name)
        text = self._shared.ledger.put_in(self.replica.view.original(prompt_id), mark)
        self._shared.ledger.prompts[prompt_id].texts.add(mark)  # the device has it, and hands it over however long that takes
        await self.wire.push(edit_original(self.replica.library, prompt_id, text))
        with suppress(AssertionError):
            await self.wire.until(lambda: not self.wire.unconfirmed or not self.wire.online, within=ANSWER_SECONDS)

    async def come(self) -> None:
        """Connect to whichever process lets it in."""
        async with asyncio.timeout(60):
            while not self.wire.online:
                self.wire.move(self._shared.random.choice(self._shared.nodes).sync_url)
                with suppress(TimeoutError):
                    await self.wire.reconnect(within=2)


@asynccontextmanager
async def authors(shared: Shared, *, rest: int = 4, devices: int = 2) -> AsyncIterator[None]:
    """They write until the end of the block; then everything that they have meant has to be there, and everybody has to agree."""
    typists = [Typist(shared, f"d{number}") for number in range(devices)]
    works = [Author(shared, f"r{number}").write() for number in range(rest)] + [typist.write() for typist in typists]
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await shared.more(5)
        yield
        await shared.more(5)
        shared.stopping = True
        async with asyncio.timeout(60):
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for typist in typists:
        await typist.wire.disconnect()
        await typist.come()
        await typist.wire.confirmed()
        await typist.wire.disconnect()


async def check(shared: Shared, archive: Archive) -> None:
    """Nothing that was meant is missing or there twice, every process and every new device tells the same, and the log has one of each."""
    expected: dict[str, str] | None = None
    for client in shared.clients:
        copy = await newcomer(client, UUID(shared.account.library_id))
        shared.ledger.check(copy.view)
        _check_titles(shared, copy.view)
        states = states_of(copy.view)
        assert expected in (None, states)
        expected = states
        answers = [await client.get(f"/api/prompts/{prompt_id}") for prompt_id in states]
        assert {answer.json()["id"]: answer.headers["etag"].strip('"') for answer in answers} == states
    assert expected is not None
    check_log(await archive.log(shared.account.library_id), expected, one_client=False)


def _check_titles(shared: Shared, view: View) -> None:
    titles = [prompt.title for prompt in view.prompts()]
    assert len(set(titles)) == len(titles), "a prompt was made twice"
    assert set(shared.titles) <= set(titles)
