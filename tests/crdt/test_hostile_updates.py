"""Updates that no client writes: damaged, announcing what is not there, or read differently by Yrs and yjs."""

from __future__ import annotations

import random
import time
import tracemalloc
from array import array

import pytest

from crdt import updates
from crdt.contents import MAX_DEPTH
from crdt.errors import InvalidUpdate
from crdt.ranges import Ranges
from crdt.updates import EMPTY_UPDATE, Limits, delete_set_update, diff, inspect, merge
from tests.crdt.made import VECTORS, knowledge_of, one, refusal, triples, typed

# What encodings give a meaning to: numbers of a group, kinds, the ends of the one-byte range.
SIGNIFICANT = (0, 1, 10, 127, 128, 255)


def mutated(source: random.Random, update: bytes) -> bytes:
    bytes_ = bytearray(update)
    for _ in range(source.choice((1, 1, 2, 3))):
        place, chance = source.randrange(len(bytes_)), source.random()
        if chance < 0.6:
            bytes_[place] = source.choice((source.randrange(256), *SIGNIFICANT, bytes_[place] ^ 1 << source.randrange(8)))
        elif chance < 0.75 and len(bytes_) > 1:
            del bytes_[place]
        else:
            bytes_.insert(place, source.randrange(256))
    return bytes(bytes_)


def test_damaged_updates_are_refused_or_read_as_yrs_reads_them() -> None:
    source = random.Random(7)
    captured = [bytes.fromhex(vector["update"]) for vector in VECTORS]
    accepted = 0
    for _ in range(12_000):
        update = mutated(source, source.choice(captured))
        try:
            read = knowledge_of(update)
        except InvalidUpdate:
            continue
        accepted += 1
        # Yrs writes what it has read: the same clocks, or we would tell a room other than what its devices get.
        assert knowledge_of(merge([update])) == read, update.hex()
    assert accepted > 1_000


def test_noise_is_refused_and_nothing_else_is_raised() -> None:
    source = random.Random(11)
    for _ in range(3_000):
        try:
            inspect(source.randbytes(source.randrange(40)))
        except InvalidUpdate:
            continue


@pytest.mark.parametrize(
    "bomb",
    [
        "c8 ee db 70",
        "01 ff ff ff ff 0f 01 00",
        "01 ff ff ff ff ff ff ff 0f 01 00",
        "00 ff ff ff ff 0f",
        "00 01 01 ff ff ff ff 0f",
        "01 01 01 00 08 01 01 61 ff ff ff ff 0f",
        "01 01 01 00 08 01 01 61 01 75 ff ff ff ff 0f",
        "01 01 01 00 08 01 01 61 01 76 ff ff ff ff 0f",
        "01 01 01 00 04 01 01 61 ff ff ff ff 0f",
        "01 01 01 00 03 01 01 61 ff ff ff ff 0f",
        "01 01 01 00 04 01 ff ff ff ff 0f",
    ],
)
def test_announcing_more_than_there_is_costs_neither_time_nor_memory(bomb: str) -> None:
    update = bytes.fromhex(bomb)
    refusal(update)
    tracemalloc.start()
    begun = time.perf_counter()
    with pytest.raises(InvalidUpdate):
        inspect(update)
    taken, (_, peak) = time.perf_counter() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 0.02, "a hundredfold of what it takes; reserving the memory takes far longer"
    assert peak < 20_000


def test_values_nested_too_deeply_are_refused_before_yrs_reads_them() -> None:
    deep = "08 01 " + "7501" * MAX_DEPTH + "7e"
    assert triples(inspect(one(deep)).held) == [[1, 0, 1]]
    assert refusal(one("08 01 " + "7501" * (MAX_DEPTH + 1) + "7e")) == "value nested too deeply"
    assert refusal(one("08 01 " + "7601" + "0161" + "7501" * 100_000 + "7e")) == "value nested too deeply"
    assert inspect(one("08 02" + "7600 7500".replace(" ", ""))).held == array("Q", [1, 0, 2])


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (bytes.fromhex("ff ff ff ff ff ff ff ff ff ff ff 01"), "integer of more than 8 bytes"),
        (bytes.fromhex("00 01 80 80 80 80 80 80 80 10 01 00 01"), "integer above 2^53 - 1"),
        (bytes.fromhex("81 00 01 01 00 04 01 01 61 01 78 00"), "integer longer than need be"),
        (bytes.fromhex("01 01 01 ff ff ff ff 0f 04 01 01 61 01 78 00"), "clock out of range"),
        (bytes.fromhex("01 01 01 00 84 02 80 80 80 80 10 01 78 00"), "clock out of range"),
        (bytes.fromhex("00 01 01 01 ff ff ff ff 0f 01"), "clock out of range"),
        (bytes.fromhex("02 01 01 00 00 01 01 01 01 00 01 00"), "client named twice"),
        (bytes.fromhex("00 02 01 01 00 01 01 01 05 01"), "client named twice"),
        (bytes.fromhex("00 01 01 01 05 00"), "deletion without length"),
        (bytes.fromhex("01 01 01 00 00 00 00"), "struct without length"),
        (bytes.fromhex("01 01 01 00 84 01 00 01 78 00"), "struct beside a later one of its client"),
        (bytes.fromhex("01 01 01 03 44 01 07 01 78 00"), "struct beside a later one of its client"),
        (bytes.fromhex("01 01 01 00 04 00 01 00 01 78 00"), "struct inside a later one of its client"),
        (bytes.fromhex("01 01 01 00 04 02 01 61 01 78 00"), "unknown kind of parent"),
        (one("01 00"), "struct without length"),
        (one("08 00"), "struct without length"),
        (one("07 07"), "unknown shared type"),
        (one("07 0f"), "unknown shared type"),
        (one("0b 00 00"), "unknown kind of struct"),
        (one("14 01 78"), "unknown kind of struct"),
        (one("20 01"), "unknown kind of struct"),
        (one("08 01 73"), "unknown kind of value"),
        (one("08 01 7d ff ff ff ff ff ff ff ff 01"), "integer of more than 8 bytes"),
        (one("09 01 61 7e"), "subdocument options that are no object"),
        (one("04 01 ff"), "text that is not UTF-8"),
        (one("04 03 ed a0 80"), "text that is not UTF-8"),
        (bytes.fromhex("01 01 01 00 04 01 01 ff 01 78 00"), "text that is not UTF-8"),
        (one("08 01 77 01 ff"), "text that is not UTF-8"),
        (one("05 03 4e 61 4e"), "Yrs cannot decode it"),
        (one("06 01 62 03 7b 61 7d"), "Yrs cannot decode it"),
    ],
)
def test_what_no_client_writes_is_refused_by_name(update: bytes, reason: str) -> None:
    assert refusal(update) == reason


def test_the_last_clock_of_32_bits_can_be_used() -> None:
    assert triples(inspect(bytes.fromhex("01 01 01 fe ff ff ff 0f 04 01 01 61 01 78 00")).held) == [[1, 2**32 - 2, 2**32 - 1]]


def test_limits_bound_bytes_and_clients() -> None:
    [update] = typed("hello")
    assert not inspect(update, limits=Limits(size=len(update), clients=1)).empty
    with pytest.raises(InvalidUpdate, match="update too large"):
        inspect(update, limits=Limits(size=len(update) - 1))
    with pytest.raises(InvalidUpdate, match="too many clients"):
        inspect(update, limits=Limits(clients=0))
    with pytest.raises(InvalidUpdate, match="too many clients"):
        inspect(bytes.fromhex("00 01 01 01 00 01"), limits=Limits(clients=0))


def test_limits_bound_separate_ranges() -> None:
    update = bytes.fromhex("00 01 01 03 00 01 02 01 04 01")
    assert triples(inspect(update, limits=Limits(ranges=3)).deleted) == [[1, 0, 1], [1, 2, 3], [1, 4, 5]]
    with pytest.raises(InvalidUpdate, match="too many separate ranges"):
        inspect(update, limits=Limits(ranges=2))


@pytest.mark.parametrize(
    "struct",
    ["87 01 00 00", "89 01 00 00 76 00", "88 01 00 01 76 00", "85 01 00 03 7b 7d 20", "81 01 00 01"],
    ids=["type", "doc", "any", "json", "deleted"],
)
def test_what_makes_yrs_take_much_memory_for_few_bytes_is_refused(struct: str) -> None:
    count = 1_000
    update = bytes.fromhex("01 e8 07 01 01" + struct * count + "00")
    assert triples(inspect(update).held) == [[1, 1, 1 + count]]
    assert inspect(update, limits=Limits(memory=count * 1_000)).held
    with pytest.raises(InvalidUpdate, match="update too heavy for its size"):
        inspect(update, limits=Limits(memory=count * 150))


def test_many_deletions_take_no_more_memory_than_they_need() -> None:
    ranges = Ranges()
    for clock in range(0, 100_000, 2):
        ranges.add(1, clock, clock + 1)
    update = delete_set_update(ranges)
    tracemalloc.start()
    inspected = inspect(update)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(inspected.deleted) == 150_000
    assert peak < 2 * 8 * 150_000


def test_errors_and_panics_of_yrs_are_refusals_but_interrupts_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    for raised, expected in [
        (ValueError("no"), InvalidUpdate),
        (panic("no"), InvalidUpdate),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (SystemExit(), SystemExit),
        (MemoryError(), MemoryError),
    ]:

        def fail(update: bytes, raised: BaseException = raised) -> bytes:
            raise raised

        monkeypatch.setattr(updates, "get_state", fail)
        with pytest.raises(expected):
            inspect(EMPTY_UPDATE)


def test_merging_and_dividing_junk_is_refused() -> None:
    with pytest.raises(InvalidUpdate):
        merge([EMPTY_UPDATE, b"\x01"])
    with pytest.raises(InvalidUpdate):
        diff(b"\x01", b"\0")
