"""The quick reader of small frames and the library's parser, side by side: the same messages, however the bytes are cut."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol

from server.wire import TRUSTED_MESSAGE_BYTES, WireProtocol

payloads = st.one_of(st.binary(max_size=10), st.binary(min_size=120, max_size=130), st.integers(60_000, 70_000).map(bytes))
frames = st.one_of(
    payloads.map(lambda payload: Frame(Opcode.BINARY, payload)),
    st.binary(max_size=20).map(lambda payload: Frame(Opcode.PING, payload)),
    st.binary(max_size=20).map(lambda payload: Frame(Opcode.BINARY, payload, fin=False)),
    st.binary(max_size=20).map(lambda payload: Frame(Opcode.CONT, payload)),
    st.text(max_size=5).map(lambda text: Frame(Opcode.TEXT, text.encode())),
)


class Connection(WireProtocol):
    """The protocol without its transport: what reaches the sink and what is left to uvicorn, in order."""

    def __init__(self) -> None:
        self.conn: Any = Protocol(SERVER, max_size=TRUSTED_MESSAGE_BYTES)
        self.close_sent = False
        self.seen: list[tuple[str, bytes]] = []
        self.sink = self._heard
        self.transport: Any = SimpleNamespace()

    def _heard(self, frame: bytes) -> None:
        self.seen.append(("message", frame))

    def handle_events(self) -> None:
        for event in self.conn.events_received():
            self.seen.append((event.opcode.name, bytes(event.data)))

    def handle_parser_exception(self) -> None:
        self.seen.append(("broken", b""))
        self.close_sent = True


class Slow(Connection):
    """The same by the library's parser alone."""

    def _read_small(self, data: bytes, sink: object) -> int:
        return 0


def _feed(connection: Connection, data: bytes, cuts: list[int]) -> list[tuple[str, bytes]]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        if start < end and not connection.close_sent:
            connection.data_received(data[start:end])
    return connection.seen


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 1 << 20), max_size=6))
def test_both_readers_see_the_same_frames(sent: list[Frame], cuts: list[int]) -> None:
    data = b"".join(frame.serialize(mask=True) for frame in sent)
    assert _feed(Connection(), data, cuts) == _feed(Slow(), data, cuts)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_both_readers_judge_any_bytes_alike(junk: bytes, cuts: list[int]) -> None:
    data = Frame(Opcode.BINARY, b"first").serialize(mask=True) + junk
    assert _feed(Connection(), data, cuts) == _feed(Slow(), data, cuts)


def test_small_frames_never_reach_the_library() -> None:
    connection = Connection()
    connection.conn.receive_data = None  # would fail
    data = b"".join(Frame(Opcode.BINARY, bytes(size)).serialize(mask=True) for size in (0, 1, 125, 126, 5000))
    assert [len(frame) for _, frame in _feed(connection, data, [])] == [0, 1, 125, 126, 5000]
