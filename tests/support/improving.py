"""A server beside a scripted provider of models, and a user who has prompts improved there."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Self
from uuid import UUID

import httpx2

from crdt.operations import set_model_fields
from tests.support.library_replica import LibraryReplica, newcomer, store
from tests.support.running import Running, User, running_server
from tests.support.scripted_provider import ScriptedProvider, scripted_provider

CONFIG, MODEL = "home", "gpt-5-mini"


class Event(NamedTuple):
    """One server-sent event; a comment has the name ``."""

    name: str
    data: Any


@dataclass(frozen=True, kw_only=True)
class Improving:
    """A user, signed in, with a model configuration for the provider."""

    server: Running
    provider: ScriptedProvider
    user: User
    client: httpx2.AsyncClient

    @classmethod
    async def begin(cls, server: Running, provider: ScriptedProvider, client: httpx2.AsyncClient, user: User) -> Self:
        world = cls(server=server, provider=provider, user=user, client=client)
        await world.configure(CONFIG, provider="openai-compatible", model=MODEL, base_url=f"{provider.url}/v1")
        return world

    async def configure(self, config_id: str, **fields: Any) -> None:
        """Write a configuration, as a device does."""
        device = await newcomer(self.client, self.user.library_id)
        fields = {"name": "Home", "enabled": True, "request_style": "chat_completions"} | fields
        answer = await store(self.client, self.user.library_id, set_model_fields(device.library, config_id, fields))
        assert answer.is_success, answer.text

    async def prompt(self, original: str = "write a report for {{team}}", query: str = "", **fields: Any) -> str:
        """A new prompt's id."""
        answer = await self.client.post(f"/api/prompts{query}", json={"title": "p", "original_text": original, **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def optimize(self, prompt_id: str | None, query: str = "", *, key: str | None = None, **body: Any) -> httpx2.Response:
        """Ask for an improvement; without a prompt, of a text."""
        body = {"model_config_id": CONFIG} | body
        headers = {"Idempotency-Key": key} if key is not None else {}
        return await self.client.post(path_of(prompt_id) + query, json=body, headers=headers)

    @asynccontextmanager
    async def reading(self, prompt_id: str | None, *, key: str | None = None, **body: Any) -> AsyncIterator[AsyncIterator[Event]]:
        """Ask for an improvement and read along."""
        body = {"model_config_id": CONFIG, "stream": True} | body
        headers = {"Idempotency-Key": key} if key is not None else {}
        async with self.client.stream("POST", path_of(prompt_id), json=body, headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield events(answer.aiter_text())

    async def read(self, prompt_id: str | None, *, key: str | None = None, **body: Any) -> list[Event]:
        """All the events of an improvement."""
        async with self.reading(prompt_id, key=key, **body) as found:
            return [event async for event in found]

    async def versions(self, prompt_id: str) -> list[dict[str, Any]]:
        """Newest first."""
        answer = await self.client.get(f"/api/prompts/{prompt_id}/history")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["versions"]
        return found

    async def library(self) -> LibraryReplica:
        """All of the user's library."""
        return await newcomer(self.client, self.user.library_id)


def path_of(prompt_id: str | None) -> str:
    """Where an improvement of this prompt is asked for."""
    return "/api/optimize" if prompt_id is None else f"/api/prompts/{prompt_id}/optimize"


async def events(pieces: AsyncIterator[str]) -> AsyncIterator[Event]:
    """The events in a body that comes in pieces."""
    text = ""
    async for piece in pieces:
        text += piece
        while "\n\n" in text:
            block, _, text = text.partition("\n\n")
            fields = dict(line.split(": ", 1) for line in block.splitlines())
            yield Event(fields.get("event", ""), json.loads(fields["data"]) if "data" in fields else fields)
    assert not text, "the last event is cut off"


def token_text(found: list[Event], name: str = "token") -> str:
    """The text of all events of this name."""
    return "".join(event.data["text"] for event in found if event.name == name)


@asynccontextmanager
async def improving_server(dsn: str, **settings: Any) -> AsyncIterator[tuple[Running, ScriptedProvider]]:
    """A server that may ask the scripted provider, and that."""
    async with scripted_provider() as provider, running_server(dsn, model_hosts=(provider.host,), **settings) as server:
        yield server, provider


async def member(server: Running, library_id: UUID, role: str) -> User:
    """A new member of a library."""
    user = await server.user()
    await server.add_member(library_id, user, role)
    return user
