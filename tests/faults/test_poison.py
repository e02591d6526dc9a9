"""An update that breaks Yrs, stored by two processes: it is put apart, everybody is sent away once, and nothing else is lost."""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID

import pytest

from benchmarks.sockets import open_socket
from crdt.knowledge import Knowledge
from crdt.updates import decode_state_vector, inspect
from protocol import ysync
from protocol.closes import Close
from tests.faults.crowd import Seated
from tests.faults.writers import bystander
from tests.support.born import BORN
from tests.support.core import typing, until
from tests.support.many import Fleet, Node
from tests.support.poison import NO_PARENT
from tests.support.server import Account

pytestmark = pytest.mark.faults

GOOD = typing(77, 20)
SENT_AWAY_SECONDS = 10.0


class Bare(Seated):
    """A device without a document, which keeps what it is sent: a document would break on it."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[ysync.Message] = []

    def message(self, payload: bytes) -> None:
        self.messages.append(ysync.decode(payload))
        super().message(payload)

    @property
    def updates(self) -> list[bytes]:
        """The updates that came in frames of their own."""
        return [message.update for message in self.messages if isinstance(message, ysync.Update)]

    @property
    def asked_from(self) -> dict[int, int]:
        """From which clock on the server wants each client's changes."""
        return next(decode_state_vector(message.state_vector) for message in self.messages if isinstance(message, ysync.Step1))

    def given(self) -> Knowledge:
        """Everything that it was sent."""
        held = Knowledge()
        for message in self.messages:
            if isinstance(message, ysync.Update | ysync.Step2):
                held.learn(inspect(message.update))
        return held


async def opened(node: Node, account: Account) -> Bare:
    device = Bare()
    await open_socket(device, ("127.0.0.1", node.port), f"/sync/{account.library_id}", account.sync_token)
    return device


def has_all(device: Bare, updates: list[bytes]) -> Callable[[], bool]:
    return lambda: not any(device.given().adds(inspect(update)) for update in updates)


async def test_an_update_that_breaks_yrs_is_put_apart_under_two_processes(two: Fleet) -> None:
    here, there = two.nodes
    account = await asyncio.to_thread(here.register)
    writer, reader = await opened(here, account), await opened(there, account)
    everything = [*GOOD[:10], NO_PARENT, *GOOD[10:]]
    async with bystander(here, there) as beside:
        for update in everything:
            writer.send(ysync.encode_update(update))
        await until(has_all(reader, everything), "everything at the other process")

        began = time.monotonic()
        printed = await two.command("compact", account.library_id)
        for device in (writer, reader):
            await asyncio.wait_for(device.ended.wait(), SENT_AWAY_SECONDS)
        print(f"sent away {time.monotonic() - began:.1f} s after the command began; it said: {printed}")
    assert (writer.close_code, reader.close_code) == (Close.RESTART, Close.RESTART)
    rows = await two.postgres.fetch("SELECT seq FROM quarantined WHERE library_id = $1", UUID(account.library_id))
    assert [row["seq"] for row in rows] == [BORN + 11]

    for node in two.nodes:
        newcomer = await opened(node, account)
        await until(has_all(newcomer, everything), "everything on a new device")
        assert newcomer.updates == [NO_PARENT], "in a frame of its own, behind the answer"
        assert all(newcomer.asked_from.get(client, 0) >= clock for client, clock in _ends(NO_PARENT).items()), "it is not asked for again"
        newcomer.leave()
    print(f"bystander's p99 {beside.p99:.1f} ms")


def _ends(update: bytes) -> dict[int, int]:
    held = inspect(update).held
    return {held[at]: held[at + 2] for at in range(0, len(held), 3)}
