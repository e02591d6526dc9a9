"""Relay: libraries of two devices, where one or both write, a few edits in flight each. Also one to one, for the latency.

A delivery is an edit that has reached the other device. The writer sends the next one then, so nothing is ever sent into a
queue that only grows, and what is counted has been committed (the server shows nothing before).
"""

import asyncio
import time
from typing import Any

from benchmarks.edits import EDIT_LENGTH, Typist, runs_of
from benchmarks.job import Door, Job, until
from benchmarks.sockets import BINARY, Socket, client_frame, open_socket
from protocol import ysync

EXPECTED_RATE = 30_000
"""Edits prepared for a second of measuring; past it they are made on the way, which costs the generator a little."""


class Device(Socket):
    """One of the two devices of a library: writes its own edits, counts the partner's and its own echoes."""

    def __init__(self, typist: Typist, in_flight: int) -> None:
        super().__init__()
        self.typist = typist
        self.partner: Device
        self.sent = 0
        self.seen = 0
        """Edits of the partner that have arrived."""
        self.echoed = 0
        self.merged: list[bytes] = []
        """Updates that the server had joined."""
        self.latencies: list[int] = []
        self.arrivals: list[int] = []
        """When the edits of `latencies` arrived, by the clock that all processes of a machine share (ns)."""
        self._in_flight = in_flight
        self._sent_at = 0
        self._writing = False
        self._theirs: list[bytes] = []
        self._own = typist.payloads

    def join(self, partner: "Device") -> None:
        self.partner = partner
        self._theirs = partner.typist.payloads

    def begin(self) -> None:
        self._writing = True
        self.write(self._in_flight)

    def rest(self) -> None:
        self._writing = False

    def write(self, count: int) -> None:
        """Send the next `count` edits."""
        if not self._writing:
            return
        frames = [client_frame(payload) for payload in self.typist.take(self.sent, count)]
        self.sent += count
        self._sent_at = time.perf_counter_ns()
        self.transport.write(b"".join(frames))

    def parse(self, data: bytes) -> int:
        """The loop of the measurement: nearly every frame is the next echo or the partner's next edit, to the byte."""
        if not self.synced.done():
            return super().parse(data)
        at, end = 0, len(data)
        theirs, own, seen, echoed = self._theirs, self._own, self.seen, self.echoed
        before = seen
        while end - at >= 2:
            stop = at + 2 + data[at + 1]
            if stop > end:
                break
            payload = data[at + 2 : stop]
            if seen < len(theirs) and payload == theirs[seen]:
                seen += 1
            elif echoed < len(own) and payload == own[echoed]:
                echoed += 1
            else:
                self.seen, self.echoed = seen, echoed
                whole = self._other_frame(data, at)
                seen, echoed = self.seen, self.echoed
                if not whole:
                    break
                stop = at + whole
            at = stop
        self.seen, self.echoed = seen, echoed
        if seen > before:
            if self._in_flight == 1:
                now = time.perf_counter_ns()
                self.latencies.append(now - self.partner._sent_at)
                self.arrivals.append(now)
            self.partner.write(seen - before)
        return at

    def _other_frame(self, data: bytes, at: int) -> int:
        """Take one frame that is not what was expected, and return its length (0: it has not all arrived)."""
        size = data[at + 1]
        head = 2 if size < 126 else 4 if size == 126 else 10
        size = size if size < 126 else int.from_bytes(data[at + 2 : at + head], "big")
        if at + head + size > len(data):
            return 0
        payload = data[at + head : at + head + size]
        if data[at] != BINARY:
            self.control(data[at], payload)
        elif payload != ysync.KEEP_ALIVE:
            self.message(payload)
        return head + size

    def message(self, payload: bytes) -> None:
        if not payload.startswith(b"\x00\x02"):
            super().message(payload)
            return
        update = _update(payload)
        self.merged.append(update)
        for client, start, stop in runs_of(update):
            first, after = start // EDIT_LENGTH, stop // EDIT_LENGTH
            if client == self.typist.client and first <= self.echoed:
                self.echoed = max(self.echoed, after)
            elif client == self.partner.typist.client and first <= self.seen:
                self.seen = max(self.seen, after)
            else:
                self.fail(f"edits {first} to {after} of {client} came, out of order")

    def check(self) -> None:
        """Raise AssertionError unless what arrived is exactly what the partner wrote.

        Frames equal to the expected ones prove themselves; where updates came joined, a document is built from all.
        """
        assert self.seen == self.partner.sent, f"{self.seen} of {self.partner.sent} edits arrived"
        if self.merged:
            self.partner.typist.check_joined(self.merged, self.seen)


def _update(payload: bytes) -> bytes:
    message = ysync.decode(payload)
    assert isinstance(message, ysync.Update)
    return message.update


async def run(job: Job) -> dict[str, Any]:
    """Measure and return deliveries a second, CPU seconds, and latencies in milliseconds when one edit is in flight."""
    pairs = [await _open_pair(job, door, number) for number, door in enumerate(job.doors)]
    writers = [device for pair in pairs for device in pair[: job.writers]]
    devices = [device for pair in pairs for device in pair]
    ahead = int(EXPECTED_RATE * (job.seconds + job.warm_up) / len(writers)) if job.in_flight > 1 else int(8000 * job.seconds)
    for writer in writers:
        writer.typist.prepare(ahead)

    for writer in writers:
        writer.begin()
    await asyncio.sleep(job.warm_up)
    for device in devices:
        device.latencies.clear()
        device.arrivals.clear()
    usage, began, seen = job.usage(), time.perf_counter(), sum(device.seen for device in devices)
    await job.measured()
    seconds, seen = time.perf_counter() - began, sum(device.seen for device in devices) - seen
    used = job.usage()

    for writer in writers:
        writer.rest()
    await _wait_for_the_rest(devices)
    for device in devices:
        if device.failure is not None:
            raise device.failure
        device.check()
        device.leave()
    if job.stored:
        await _check_stored(job, pairs)
    return {
        "deliveries": seen,
        "seconds": seconds,
        "server_cpu": used.server - usage.server,
        "postgres_cpu": used.postgres - usage.postgres,
        "merged_frames": sum(len(device.merged) for device in devices),
        "latencies_ms": [nanoseconds / 1e6 for device in devices for nanoseconds in device.latencies],
        "arrived_at": [nanoseconds / 1e9 for device in devices for nanoseconds in device.arrivals],
    }


async def _open_pair(job: Job, door: Door, number: int) -> tuple[Device, Device]:
    a, b = (Device(Typist(1_000_000_000 + 2 * number + side, "ab"[side]), job.in_flight) for side in (0, 1))
    a.join(b)
    b.join(a)
    for side, device in enumerate((a, b)):
        await open_socket(device, job.address_of(number, side), *door)
    return a, b


async def _wait_for_the_rest(devices: list[Device]) -> None:
    """Wait until everything sent has arrived and been echoed."""
    try:
        await until(lambda: all(_complete(device) or device.failure for device in devices), what="the last edits")
    except AssertionError as error:
        missing = sum(device.partner.sent - device.seen for device in devices)
        raise AssertionError(f"{error}: {missing} not shown, {sum(d.sent - d.echoed for d in devices)} not echoed") from None


def _complete(device: Device) -> bool:
    return device.seen == device.partner.sent and device.echoed == device.sent


async def _check_stored(job: Job, pairs: list[tuple[Device, Device]]) -> None:
    """A device that has nothing gets all of it."""
    for door, pair in zip(job.doors, pairs, strict=True):
        stranger = Socket()
        update = await open_socket(stranger, job.address, *door)
        stranger.leave()
        for device in pair:
            device.typist.check([update], device.sent)
