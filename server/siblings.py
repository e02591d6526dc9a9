"""The processes that share a port: a socket about a library goes to the process that its library belongs to.

So the devices of a library meet in one process, and what one of them writes reaches the others without a way through the database, which
costs twice as much. It is an advantage and not a rule: where the kernel gave a connection to another process, and that one cannot hand it
on (the owner does not answer, its inbox is full, the request came in pieces or behind another one), it serves it itself.

The parent makes an inbox for each process and keeps it open, like the listening sockets: what lies in one waits while its process is
started again. Each process marks the time in memory that all of them see; one that has not done so for a while is handed nothing.
"""

import asyncio
import mmap
import os
import re
import resource
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import structlog

from server import metrics

HEAD_BYTES = 16 << 10
"""The largest first part of a request that is handed on with its connection; ours take under 2 KiB. A larger one is served where it is."""
PULSE_SECONDS = 0.25
"""How often a process marks that it lives."""
SILENT_SECONDS = 1.0
"""A process that has not marked it for so long is handed nothing."""
SPARE_DESCRIPTORS = 512
"""A process with fewer left, or with a tenth of its limit, is handed nothing: what comes where no descriptor is free is lost, and its inbox
may hold some two hundred."""
TAKEN_AT_ONCE = 64
"""Connections taken from the inbox before others get their turn."""

log = structlog.get_logger(__name__)

_SYNC = re.compile(rb"GET /sync/([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})[ ?]")
_PULSE = struct.Struct("d")


class Switchboard:
    """The parent's part: an inbox for each of the processes 1 to `count`, and where they mark the time."""

    def __init__(self, count: int) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(count)]
        self._outboxes = {number: pair[0] for number, pair in enumerate(pairs, 1)}
        self._inboxes = {number: pair[1] for number, pair in enumerate(pairs, 1)}
        self._pulses = os.memfd_create("promptsync-pulses")
        os.ftruncate(self._pulses, _PULSE.size * count)

    def orders(self, number: int) -> dict[str, Any]:
        """What process `number` needs to make its `Siblings`; the descriptors are to be inherited by it."""
        outboxes = {str(other): outbox.fileno() for other, outbox in self._outboxes.items() if other != number}
        return {"inbox": self._inboxes[number].fileno(), "outboxes": outboxes, "pulses": self._pulses}

    def descriptors(self, number: int) -> list[int]:
        """Those of `orders`."""
        orders = self.orders(number)
        return [orders["inbox"], orders["pulses"], *orders["outboxes"].values()]

    def close(self) -> None:
        """Give up the inboxes; connections that nobody has taken are reset."""
        for end in (*self._outboxes.values(), *self._inboxes.values()):
            end.close()
        os.close(self._pulses)


class Siblings:
    """A process's part: hands connections on, and takes those that are handed to it."""

    def __init__(self, number: int, orders: Mapping[str, Any], clock: Callable[[], float] = time.monotonic) -> None:
        """`orders` are those of the parent's `Switchboard`; `clock` is one that all processes share."""
        self._number = number
        self._clock = clock
        self._inbox = socket.socket(fileno=orders["inbox"])
        self._outboxes = {int(other): socket.socket(fileno=descriptor) for other, descriptor in orders["outboxes"].items()}
        self._leaving = False
        self._pulses = mmap.mmap(orders["pulses"], 0)
        os.close(orders["pulses"])
        for end in (self._inbox, *self._outboxes.values()):
            end.setblocking(False)

    def owner(self, head: bytes) -> int:
        """The number of the process that a request belongs to by its first bytes; this one's where it belongs to none."""
        found = _SYNC.match(head)
        return UUID(found[1].decode()).int % (len(self._outboxes) + 1) + 1 if found else self._number

    def hand_on(self, head: bytes, transport: asyncio.Transport) -> bool:
        """Give a connection, of which `head` has been read, to the process that it belongs to; False when it is to be served here."""
        owner = self.owner(head)
        if owner == self._number or len(head) > HEAD_BYTES or not self._lives(owner):
            return False
        try:
            socket.send_fds(self._outboxes[owner], [head], [transport.get_extra_info("socket").fileno()])
        except OSError:  # its inbox is full, or more descriptors are under way than the kernel allows
            return False
        metrics.handed_on.inc()
        transport.abort()  # closes our descriptor only: the connection lives on with the other one
        return True

    def _lives(self, number: int) -> bool:
        (marked,) = _PULSE.unpack_from(self._pulses, _PULSE.size * (number - 1))
        return bool(self._clock() - marked < SILENT_SECONDS)

    def leave(self) -> None:
        """Be handed nothing any more; what is on its way is still taken."""
        self._leaving = True
        self._mark()

    def _mark(self) -> None:
        now = 0.0 if self._leaving or not self._has_room() else self._clock()
        _PULSE.pack_into(self._pulses, _PULSE.size * (self._number - 1), now)

    def _has_room(self) -> bool:
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            lowest = os.dup(self._inbox.fileno())  # the lowest number that is free
        except OSError:
            return False
        os.close(lowest)
        return lowest < most - min(SPARE_DESCRIPTORS, most // 10)

    def close(self) -> None:
        """Give up this process's part; what has been handed here and not taken stays in the parent's inbox."""
        for end in (self._inbox, *self._outboxes.values()):
            end.close()
        self._pulses.close()

    async def run(self, protocol: Callable[[bytes], asyncio.Protocol]) -> None:
        """Mark the time and take what is handed here until cancelled; `protocol` makes what serves a connection, given its first bytes."""
        loop = asyncio.get_running_loop()
        accepting = set[asyncio.Task[object]]()

        def take() -> None:
            for _ in range(TAKEN_AT_ONCE):
                try:
                    head, descriptors, _, _ = socket.recv_fds(self._inbox, HEAD_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
                except BlockingIOError:
                    return
                self._mark()
                if not descriptors:
                    log.error("connection_lost", reason="no descriptor is free")
                for descriptor in descriptors:
                    task = loop.create_task(_accept(loop, descriptor, head, protocol))
                    accepting.add(task)
                    task.add_done_callback(accepting.discard)

        loop.add_reader(self._inbox, take)
        try:
            while True:
                self._mark()
                await asyncio.sleep(PULSE_SECONDS)
        finally:
            loop.remove_reader(self._inbox)
            self.leave()


async def _accept(loop: asyncio.AbstractEventLoop, descriptor: int, head: bytes, protocol: Callable[[bytes], asyncio.Protocol]) -> None:
    connection = socket.socket(fileno=descriptor)
    try:
        connection.setblocking(False)
        await loop.connect_accepted_socket(lambda: protocol(head), connection)
    except OSError:  # it has ended meanwhile
        connection.close()
