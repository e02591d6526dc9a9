"""A library that REST clients on two servers and devices edit at the same time. `walk` does one random thing, or several at once."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID

import httpx2

from tests.simulation.ledger import Ledger, Meant
from tests.simulation.library_devices import SocketDevice, UploadingDevice
from tests.support.pair import Pair

MOST_TRIES = 60
"""How often an edit under `If-Match` begins again because somebody else was faster."""

Body = dict[str, Any]


class RestWorld:
    """The two servers' REST clients, the devices, and the ledger of what all of them have meant."""

    def __init__(self, pair: Pair, library_id: UUID, seed: int, clients: list[httpx2.AsyncClient]) -> None:
        self.random = random.Random(seed)
        self.ledger = Ledger(self.random)
        self.clients = clients
        self.with_gaps = seed % 4 == 0
        """Whether changes may be stored while others, made before them, are not: whoever reads then need not see them yet."""
        self.devices: list[SocketDevice | UploadingDevice] = []
        self._together = False
        """Whether several things are done at once."""
        for number in range(2 + seed % 2):
            name = f"d{number}"
            if (number + seed) % 2:
                self.devices.append(SocketDevice(name, number, self.ledger, self.random, pair))
            else:
                uploading = UploadingDevice(name, number, self.ledger, self.random, library_id, clients)
                uploading.leaves_gaps = self.with_gaps
                self.devices.append(uploading)

    async def walk(self) -> None:
        """One step."""
        device = self.random.choice(self.devices)
        steps: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (0.30, device.edit),
            (0.45, device.move),
            (0.54, self.create),
            (0.70, self._on_one(self.type)),
            (0.75, self._on_one(self.optimise)),
            (0.80, self._on_one(self.tag)),
            (0.84, self._on_one(self.set)),
            (0.87, self._on_one(self.bin)),
            (0.88, self._on_one(self.purge)),
            (0.92, self.batch),
            (0.96, self._on_one(self.rivalry)),
            (1.00, self.storm),
        ]
        chance = self.random.random()
        await next(step for limit, step in steps if chance < limit)()

    async def settle(self) -> None:
        """Every device hands over what it has made, and takes over what the others have."""
        for device in self.devices * 2:
            await device.settle()

    @property
    def client(self) -> httpx2.AsyncClient:
        """Of either server."""
        return self.random.choice(self.clients)

    @property
    def _quiet(self) -> bool:
        """Whether nothing is stored but what one REST client sends now."""
        return not self._together and all(device.idle for device in self.devices)

    async def _at_once(self, *works: Coroutine[Any, Any, Any]) -> list[Any]:
        self._together = True
        try:
            return await asyncio.gather(*works)
        finally:
            self._together = False

    def _on_one(self, step: Callable[[str], Coroutine[Any, Any, None]]) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            if known := self.ledger.living(await self.listed()):
                await step(self.random.choice(known))

        return act

    # --- reading

    async def listed(self) -> list[str]:
        """The ids of all prompts, those in the bin too."""
        answer = await self.client.get("/api/prompts", params={"deleted": "any", "limit": 200, "fields": "title"})
        assert answer.status_code == 200, answer.text
        return [prompt["id"] for prompt in answer.json()["prompts"]]

    async def get(self, prompt_id: str) -> httpx2.Response | None:
        """The prompt, with everything that REST has answered before; None where somebody has destroyed it."""
        meant = self.ledger.prompts[prompt_id]
        before = set(meant.answered)
        answer = await self.client.get(f"/api/prompts/{prompt_id}")
        if answer.status_code == 404:
            assert self._may_be_gone(prompt_id), f"{prompt_id} is missing"
            return None
        assert answer.status_code == 200, answer.text
        text = answer.json()["original_text"]
        missing = [mark for mark in before if mark not in text]
        assert self.with_gaps or not missing, f"{prompt_id}: {missing} were answered and are not in {text!r}"
        return answer

    def _may_be_gone(self, prompt_id: str) -> bool:
        return self.with_gaps or self.ledger.prompts[prompt_id].doomed

    # --- writing

    async def create(self) -> None:
        """A prompt under an Idempotency-Key; asked for again at either server it is the same."""
        mark, tag = self.ledger.mark("r"), self.ledger.name("标签r")
        body = {"title": self.ledger.name("标题"), "original_text": f"请写：{mark}。Then stop.", "tags": [tag]}
        key = {"Idempotency-Key": self.ledger.name("key")}
        first = await self.client.post("/api/prompts", json=body, headers=key)
        assert first.status_code == 201, first.text
        made = first.json()
        self.ledger.prompts[made["id"]] = Meant(texts={mark}, answered={mark}, tags={tag}, fields={"title": body["title"]})
        if self.random.random() < 0.3:
            again = await self.client.post("/api/prompts", json=body, headers=key)
            assert (again.status_code, again.json()["id"]) == (201, made["id"]), again.text

    async def type(self, prompt_id: str) -> None:
        """A mark more in the original text: with a part of the prompt, or all of it."""
        mark = self.ledger.mark("r")

        def body(now: Body) -> Body:
            text = {"original_text": self.ledger.put_in(now["original_text"], mark)}
            return text if self.random.random() < 0.6 else _whole(now) | text

        if await self._change(prompt_id, body, mark):
            self.ledger.prompts[prompt_id].texts.add(mark)
            self.ledger.prompts[prompt_id].answered.add(mark)

    async def optimise(self, prompt_id: str) -> None:
        """A mark more in the optimised text, maybe as a new version."""
        mark, new = self.ledger.mark("r"), self.random.random() < 0.5

        def body(now: Body) -> Body:
            return {"optimized_text": self.ledger.put_in(now["optimized_text"], mark), "new_version": new}

        if await self._change(prompt_id, body, mark):
            self.ledger.prompts[prompt_id].versions.add(mark)

    async def tag(self, prompt_id: str) -> None:
        """A tag more."""
        tag = self.ledger.name("标签r")
        if await self._change(prompt_id, lambda now: {"tags": [*now["tags"], tag]}, None):
            self.ledger.prompts[prompt_id].tags.add(tag)

    async def _change(self, prompt_id: str, body: Callable[[Body], Body], mark: str | None) -> bool:
        """Change what was read just before: under If-Match where something may have come in between. Whether the prompt is there."""
        for _ in range(MOST_TRIES):
            found = await self.get(prompt_id)
            if found is None:
                return False
            changes, is_quiet = body(found.json()), self._quiet
            headers = {} if is_quiet and self.random.random() < 0.5 else {"If-Match": found.headers["etag"]}
            method = "PUT" if "title" in changes else "PATCH"
            answer = await self.client.request(method, f"/api/prompts/{prompt_id}", json=changes, headers=headers)
            if answer.status_code == 412 and not is_quiet:
                assert mark is None or mark not in answer.text, "what was refused is written"
                continue
            if answer.status_code == 404:
                assert self._may_be_gone(prompt_id)
                return False
            assert answer.status_code == 200, answer.text
            if is_quiet and self._quiet and not self.with_gaps:
                read = await self.get(prompt_id)
                assert read is not None
                assert read.headers["etag"] == answer.headers["etag"]
            return True
        raise AssertionError(f"{prompt_id} could not be changed")

    async def set(self, prompt_id: str) -> None:
        """A register that no device sets, whatever the others do."""
        fields: Body = self.random.choice(({"title": self.ledger.name("标题")}, {"favorite": self.random.random() < 0.5}))
        answer = await self.client.patch(f"/api/prompts/{prompt_id}", json=fields)
        if answer.status_code == 404:
            assert self._may_be_gone(prompt_id)
            return
        assert answer.status_code == 200, answer.text
        self.ledger.prompts[prompt_id].fields |= fields

    async def bin(self, prompt_id: str) -> None:
        """Into the bin or out of it."""
        if self.random.random() < 0.5:
            answer = await self.client.delete(f"/api/prompts/{prompt_id}")
        else:
            answer = await self.client.post(f"/api/prompts/{prompt_id}/restore")
        assert answer.is_success or (answer.status_code == 404 and self._may_be_gone(prompt_id)), answer.text

    async def purge(self, prompt_id: str) -> None:
        """Gone for good."""
        answer = await self.client.delete(f"/api/prompts/{prompt_id}", params={"purge": "true"})
        if answer.status_code == 404:
            assert self._may_be_gone(prompt_id)
            return
        assert answer.status_code == 204, answer.text
        self.ledger.prompts[prompt_id].doomed = True
        assert await self.get(prompt_id) is None

    async def batch(self) -> None:
        """Several at once: one that is made, and each of some others gets a title and, if it is what it was, a mark."""
        known = self.ledger.living(await self.listed())
        chosen = self.random.sample(known, min(3, len(known)))
        title, made = self.ledger.name("标题"), self.ledger.mark("r")
        operations: list[Body] = [{"op": "create", "title": title, "original_text": made}]
        marks: dict[str, str] = {}
        for prompt_id in chosen:
            found = await self.get(prompt_id)
            if found is not None:
                marks[prompt_id] = mark = self.ledger.mark("r")
                text = self.ledger.put_in(found.json()["original_text"], mark)
                operations.append(
                    {"op": "update", "id": prompt_id, "original_text": text, "title": title, "if_match": found.headers["etag"].strip('"')}
                )
        answer = await self.client.post("/api/prompts/batch", json={"operations": operations})
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        self.ledger.prompts[results[0]["id"]] = Meant(texts={made}, answered={made}, fields={"title": title})
        for result in results[1:]:
            meant, mark = self.ledger.prompts[result["id"]], marks[result["id"]]
            if result["status"] == 200:
                meant.fields["title"] = title
                meant.texts.add(mark)
                meant.answered.add(mark)
            else:
                assert result["status"] == 412 or (result["status"] == 404 and self._may_be_gone(result["id"])), result
                self.ledger.refused.add(mark)

    # --- at the same time

    async def rivalry(self, prompt_id: str) -> None:
        """Several REST clients want to be the next to change a prompt; others edit other prompts meanwhile."""
        for device in self.devices:
            if isinstance(device, SocketDevice) and device.wire.online:
                await device.wire.confirmed()
        found = await self.get(prompt_id)
        if found is None or self.with_gaps:
            return
        marks = [self.ledger.mark("r") for _ in range(5)]

        async def rival(mark: str) -> httpx2.Response:
            body = {"original_text": self.ledger.put_in(found.json()["original_text"], mark)}
            return await self.client.patch(f"/api/prompts/{prompt_id}", json=body, headers={"If-Match": found.headers["etag"]})

        others = [other for other in self.ledger.living(await self.listed()) if other != prompt_id][:3]
        answers = await self._at_once(*(rival(mark) for mark in marks), *(self.type(other) for other in others))
        statuses = [answer.status_code for answer in answers if answer is not None]
        assert sorted(statuses) == [200, 412, 412, 412, 412], statuses
        for mark, status in zip(marks, statuses, strict=False):
            if status == 412:
                self.ledger.refused.add(mark)
            else:
                self.ledger.prompts[prompt_id].texts.add(mark)
                self.ledger.prompts[prompt_id].answered.add(mark)

    async def storm(self) -> None:
        """Everything at once: each prompt has its title set once, and all else by anybody."""
        known = self.ledger.living(await self.listed())
        one, other = (self.random.choice(known), self.random.choice(known)) if known else (None, None)
        works: list[Coroutine[Any, Any, None]] = [self.create(), self.create()]
        works += [self.set(prompt_id) for prompt_id in known[:4]]
        for prompt_id in (one, one, other):
            if prompt_id is not None:
                works += [self.type(prompt_id), self.tag(prompt_id), self.optimise(prompt_id)]
        works += [device.edit() for device in self.devices for _ in range(3)]
        self.random.shuffle(works)
        await self._at_once(*works)


def _whole(now: Body) -> Body:
    names = ("title", "description", "original_text", "optimized_text", "tags", "category", "favorite", "pinned", "mode", "variables")
    return {name: now[name] for name in names}
