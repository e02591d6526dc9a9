"""Folding: nothing is lost that was stored, gaps included; garbage goes only where a document has everything; who breaks it is found."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Map, Text

from crdt import fold as folding
from crdt.errors import InvalidUpdate
from crdt.fold import Bisection, FoldBroken, Folded, fold, knowledge_of
from crdt.replica import Replica
from crdt.updates import EMPTY_UPDATE, inspect, merge
from tests.crdt.made import one
from tests.support.poison import NO_PARENT


def history(seed: int, steps: int) -> list[bytes]:
    """What two devices write at once, with deletions, in the order a server might store it."""
    rng = random.Random(seed)
    devices = [Replica(7), Replica(11)]
    made: list[bytes] = [devices[0].write_prompt("p", "the first prompt"), devices[0].write_prompt("doomed", "to be deleted soon")]
    for update in made:
        devices[1].apply(update)
    for _ in range(steps):
        device = rng.choice(devices)
        text = device.prompts()["p"]
        place = rng.randrange(len(text) + 1)
        made.append(device.edit_text("p", place, rng.choice(["", "x", "数据", "some words "]), min(rng.randrange(4), len(text) - place)))
        if rng.random() < 0.3:
            for update in made:
                for other in devices:
                    other.apply(update)
    return [update for update in made if update != EMPTY_UPDATE]


def read(*updates: bytes) -> dict[str, str]:
    replica = Replica(1)
    replica.apply(merge(updates))  # at once: a document of Yrs may leave a part waiting until the update after the one that was missing
    return replica.prompts()


@given(st.integers(0, 10**6), st.integers(1, 25), st.data())
def test_a_fold_holds_deletes_and_shows_what_the_log_did(seed: int, steps: int, data: st.DataObject) -> None:
    log = history(seed, steps)
    kept = [update for update in log if data.draw(st.booleans())]  # some have not come yet
    cut = data.draw(st.integers(0, len(kept)))
    first = fold(None, kept[:cut])
    both = fold(first.content, kept[cut:])
    assert both.knowledge == knowledge_of(kept) == knowledge_of([both.content])
    assert read(both.content) == read(*kept)
    late = [update for update in log if update not in kept]
    assert read(both.content, *late) == read(*log) == read(*late, both.content)


def test_what_is_deleted_loses_its_content_once_everything_is_there() -> None:
    device = Replica(7)
    log = [device.write_prompt("a", "kept"), device.write_prompt("b", "a secret that is long enough"), device.delete_prompt("b")]
    folded = fold(None, log)
    assert folded.collected
    assert b"secret" not in folded.content
    assert b"kept" in folded.content
    assert folded.knowledge == knowledge_of(log)
    again = Replica(8)
    again.apply(folded.content)
    assert again.prompts() == {"a": "kept"}
    assert again.state_vector() == device.state_vector()


def test_a_gap_stays_and_keeps_what_lies_beyond_it() -> None:
    device = Replica(7)
    log = [device.write_prompt("a", "one"), device.edit_text("a", 3, " two"), device.edit_text("a", 7, " three"), device.delete_prompt("a")]
    folded = fold(None, [log[0], log[2], log[3]])
    assert not folded.collected
    assert not folded.knowledge.gapless
    again = fold(folded.content, [])
    assert again.knowledge == folded.knowledge
    whole = fold(again.content, [log[1]])
    assert whole.collected
    assert whole.knowledge == knowledge_of(log)
    assert read(whole.content) == {}


def test_deletions_of_what_has_not_come_stay() -> None:
    device = Replica(7)
    log = [device.write_prompt("a", "one"), device.delete_prompt("a")]
    folded = fold(None, [log[1]])
    assert folded.knowledge == knowledge_of([log[1]])
    assert read(folded.content, log[0]) == {}


def test_a_document_that_does_not_make_it_smaller_is_not_taken() -> None:
    device = Replica(7)
    log = [device.write_prompt("a", "abcdefgh"), *(device.edit_text("a", place, "x") for place in (2, 4, 6))]
    folded = fold(None, log)
    assert (folded.content, folded.collected) == (merge(log), False)


def test_nothing_folds_to_nothing() -> None:
    folded = fold(None, [])
    assert (folded.content, bool(folded.knowledge)) == (EMPTY_UPDATE, False)


def test_past_the_bound_no_document_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Replica(7)
    log = [device.write_prompt("a", "a secret"), device.delete_prompt("a")]
    monkeypatch.setattr(folding, "DOCUMENT_BYTES", 10)
    folded = fold(None, log)
    assert not folded.collected
    assert b"secret" in folded.content


# --- what breaks


def test_an_update_that_a_document_refuses_breaks_the_fold() -> None:
    inspect(NO_PARENT)
    inspect(merge([NO_PARENT, one("04 02 6869")]))
    with pytest.raises(FoldBroken, match="Yrs cannot apply it"):
        fold(None, [NO_PARENT])


class PanicException(BaseException):
    """As Yrs' panics come to Python."""

    __module__ = "pyo3_runtime"


@pytest.mark.parametrize(
    ("error", "reason"),
    [(PanicException("secret content"), "Yrs panicked on it"), (ValueError("secret content"), "Yrs cannot apply it")],
)
def test_what_yrs_raises_becomes_a_reason_without_content(error: BaseException, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Doc[Any]):
        def apply_update(self, update: bytes) -> None:
            raise error

    monkeypatch.setattr(folding, "Doc", Broken)
    with pytest.raises(FoldBroken) as broken:
        fold(None, [one("04 02 6869")])
    assert str(broken.value) == reason


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt()])
def test_what_is_no_fault_of_the_update_goes_through(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Doc[Any]):
        def apply_update(self, update: bytes) -> None:
            raise error

    monkeypatch.setattr(folding, "Doc", Broken)
    with pytest.raises(type(error)):
        fold(None, [one("04 02 6869")])


@pytest.mark.parametrize(("merged", "reason"), [(EMPTY_UPDATE, "lacks something"), (b"\xff", "ends early")])
def test_a_merge_that_lacks_something_is_never_taken(merged: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lossy(parts: Sequence[bytes]) -> bytes:
        return merged

    def unchanged(update: bytes) -> bytes:
        return update

    monkeypatch.setattr(folding, "merge", lossy)
    monkeypatch.setattr(folding, "_collected", unchanged)
    with pytest.raises(FoldBroken, match=reason):
        fold(None, [one("04 02 6869")])


def test_a_document_that_lacks_something_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def lossy(merged: bytes) -> bytes:
        return EMPTY_UPDATE

    monkeypatch.setattr(folding, "_collected", lossy)
    assert fold(None, [one("04 02 6869")]) == Folded(merge([one("04 02 6869")]), knowledge_of([one("04 02 6869")]), False)


@given(st.integers(1, 300), st.data())
def test_bisection_finds_the_one_that_breaks(count: int, data: st.DataObject) -> None:
    culprit = data.draw(st.integers(0, count - 1))
    search, tried = Bisection(count), 0
    while (half := search.half) is not None:
        assert 0 < half < count
        search.tell(half, half > culprit)
        tried += 1
    assert search.culprit == culprit
    assert tried <= count.bit_length()


@given(st.binary(max_size=60))
def test_any_bytes_fold_or_are_refused(data: bytes) -> None:
    try:
        inspect(data)
    except InvalidUpdate:
        with pytest.raises(FoldBroken):
            fold(None, [data])


def test_garbage_of_a_map_goes_and_its_last_value_stays() -> None:
    doc: Doc[Any] = Doc(client_id=3)
    made: list[bytes] = []
    doc.observe(lambda event: made.append(event.update))
    root = doc.get("m", type=Map)
    for number in range(50):
        root["k"] = f"value number {number}"
    root["t"] = Text("gone")
    del root["t"]
    folded = fold(None, made)
    assert folded.collected
    assert len(folded.content) < len(merge(made)) / 2
    twin: Doc[Any] = Doc()
    twin.apply_update(folded.content)
    assert twin.get("m", type=Map).to_py() == {"k": "value number 49"}
