"""A provider that says what it is told to, and wires that reach it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from server.ai.wires import Wires
from server.config import Settings
from server.outgoing.client import make_client
from tests.support.scripted_provider import ScriptedProvider, scripted_provider


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as running:
        yield running


@pytest.fixture
def settings(provider: ScriptedProvider) -> Settings:
    chosen: dict[str, Any] = {
        "model_hosts": (provider.host,),
        "model_connect_seconds": 2,
        "model_idle_seconds": 2,
        "model_call_seconds": 10,
    }
    return Settings(**chosen)


@pytest.fixture
async def wires(settings: Settings) -> AsyncIterator[Wires]:
    async with make_client(settings) as client:
        yield Wires(client, settings, chance=lambda: 0.0)
