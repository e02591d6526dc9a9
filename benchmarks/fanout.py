"""Fan-out: one library of many devices, one of which writes. A delivery is an edit that has reached one other device.

Every device is sent the same bytes, so what arrives is compared with them as a whole: frames are cut out only from the first
difference on (a keep-alive, edits that the server joined).
"""

import asyncio
import time
from bisect import bisect_right
from itertools import accumulate
from typing import Any

from benchmarks.edits import EDIT_LENGTH, Typist, runs_of
from benchmarks.job import Job, until
from benchmarks.sockets import BINARY, Socket, client_frame, open_socket
from protocol import ysync

PREPARED_A_SECOND = 15_000
"""Edits made ahead for a second of measuring: with 100 devices that would be 1.5 million deliveries a second."""


class Stream:
    """The frames that every device is to get, in one piece."""

    def __init__(self, typist: Typist, count: int) -> None:
        typist.prepare(count)
        frames = [bytes((BINARY, len(payload))) + payload for payload in typist.payloads]
        self.typist = typist
        self.frames = b"".join(frames)
        self.ends = list(accumulate(map(len, frames)))


class Reader(Socket):
    """A device that is shown the edits, or hears the echo of its own."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.stream = stream
        self.merged: list[bytes] = []
        self._exact = False
        self._offset = 0
        self._counted = 0

    @property
    def seen(self) -> int:
        """How many edits have arrived whole."""
        return bisect_right(self.stream.ends, self._offset) if self._exact else self._counted

    def expect(self) -> None:
        """From now on only the stream comes."""
        self._exact = True

    def data_received(self, data: bytes) -> None:
        if self._exact:
            if self.stream.frames.startswith(data, self._offset):
                self._offset += len(data)
                self.arrived()
                return
            self._counted, self._exact = self.seen, False
            data = self.stream.frames[self.stream.ends[self._counted - 1] if self._counted else 0 : self._offset] + data
        super().data_received(data)
        self.arrived()

    def arrived(self) -> None:
        """Called after each arrival."""

    def message(self, payload: bytes) -> None:
        if not payload.startswith(b"\x00\x02"):
            super().message(payload)
        elif self._counted < len(self.stream.typist.payloads) and payload == self.stream.typist.payloads[self._counted]:
            self._counted += 1
        else:
            update = ysync.decode(payload)
            assert isinstance(update, ysync.Update)
            self.merged.append(update.update)
            for _, start, stop in runs_of(update.update):
                if start > self._counted * EDIT_LENGTH:
                    self.fail("edits came out of order")
                self._counted = max(self._counted, stop // EDIT_LENGTH)


class Pace(Reader):
    """The device joined last: when it has seen an edit, the writer sends another."""

    def __init__(self, stream: Stream, in_flight: int) -> None:
        super().__init__(stream)
        self.sent = 0
        self.writing = False
        self._writer: Socket
        self._in_flight = in_flight

    def begin(self, writer: Socket) -> None:
        self._writer, self.writing = writer, True
        self.arrived()

    def arrived(self) -> None:
        count = min(self.seen + self._in_flight, len(self.stream.typist.payloads)) - self.sent
        if self.writing and count > 0:
            payloads = self.stream.typist.payloads[self.sent : self.sent + count]
            self.sent += count
            self._writer.transport.write(b"".join(map(client_frame, payloads)))


async def run(job: Job) -> dict[str, Any]:
    """Measure and return deliveries a second and CPU seconds."""
    stream = Stream(Typist(1_000_000_000, "a"), int(PREPARED_A_SECOND * (job.warm_up + job.seconds)))
    pace = Pace(stream, job.in_flight)
    devices = [*(Reader(stream) for _ in range(job.devices - 1)), pace]
    for device in devices:
        await open_socket(device, job.address, *job.doors[0])
    for device in devices:
        device.expect()
    writer, others = devices[0], devices[1:]

    pace.begin(writer)
    await asyncio.sleep(job.warm_up)
    usage, began, seen = job.usage(), time.perf_counter(), sum(device.seen for device in others)
    await asyncio.sleep(job.seconds)
    seconds, seen = time.perf_counter() - began, sum(device.seen for device in others) - seen
    used = job.usage()

    pace.writing = False
    assert pace.sent < len(stream.typist.payloads), "more edits must be prepared"
    await until(lambda: all(device.seen == pace.sent or device.failure for device in devices), what="the last edits")
    for device in devices:
        if device.failure is not None:
            raise device.failure
        if device.merged:
            stream.typist.check_joined(device.merged, pace.sent)
        device.leave()
    if job.stored:
        stranger = Socket()
        stream.typist.check([await open_socket(stranger, job.address, *job.doors[0])], pace.sent)
        stranger.leave()
    return {
        "deliveries": seen,
        "seconds": seconds,
        "server_cpu": used.server - usage.server,
        "postgres_cpu": used.postgres - usage.postgres,
        "merged_frames": sum(len(device.merged) for device in devices),
    }
