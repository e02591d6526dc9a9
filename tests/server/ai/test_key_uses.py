"""When keys were used: noted beside the calls, once a minute for each key, whatever the database does."""

import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from auth.model_secret import ModelSecret
from server.ai import key_uses
from server.ai.calls import Target
from server.ai.key_uses import KeyUses
from server.times import utc_now
from storage.errors import Unavailable

USER = uuid4()


class Noted:
    """A vault that keeps what it is told."""

    def __init__(self) -> None:
        self.uses: list[tuple[UUID, str]] = []
        self.fails = 0
        self.hangs = False

    async def used(self, user_id: UUID, config_id: str, now: datetime) -> None:
        if self.hangs:
            await asyncio.sleep(3600)
        if self.fails:
            self.fails -= 1
            raise Unavailable
        self.uses.append((user_id, config_id))


class World:
    def __init__(self) -> None:
        self.vault, self.now = Noted(), 0.0
        vault: Any = self.vault
        self.uses = KeyUses(vault, utc_now, lambda: self.now)

    async def use(self, config_id: str = "a", key: str | None = "k", *, shared: bool = False) -> None:
        self.uses.note(USER, target(config_id, key, shared=shared))
        for _ in range(5):
            await asyncio.sleep(0)


def target(config_id: str, key: str | None, *, shared: bool = False) -> Target:
    secret = ModelSecret(key)
    return Target(
        config_id=config_id, name="n", provider="custom", model="m", base_url="https://x.example", secret=secret, is_shared=shared
    )


async def test_a_key_is_noted_once_a_minute_and_another_one_at_once() -> None:
    world = World()
    for world.now in (0, 1, 59, 60, 61):
        await world.use()
    assert world.vault.uses == [(USER, "a")] * 2
    await world.use(key="rotated")
    await world.use("b")
    assert world.vault.uses[2:] == [(USER, "a"), (USER, "b")]


async def test_what_has_no_key_or_is_the_operators_is_not_noted() -> None:
    world = World()
    await world.use(key=None)
    await world.use("shared:fast", shared=True)
    assert world.vault.uses == []


async def test_a_use_that_could_not_be_noted_is_noted_with_the_next_one() -> None:
    world = World()
    world.vault.fails = 1
    await world.use()
    assert world.vault.uses == []
    await world.use()
    assert world.vault.uses == [(USER, "a")]


async def test_a_database_that_hangs_holds_up_neither_calls_nor_the_stop_and_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_uses, "CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(key_uses, "MOST_WAITING", 3)
    monkeypatch.setattr(key_uses, "MOST_KNOWN", 3)
    world = World()
    world.vault.hangs = True
    for number in range(20):
        await world.use(f"c{number}")
    assert len(world.uses._waiting) <= 3
    async with asyncio.timeout(2):
        await world.uses.close()
    world.vault.hangs = False
    await world.use("later")
    for number in range(20):
        await world.use(f"d{number}")
    assert len(world.uses._known) == 3
