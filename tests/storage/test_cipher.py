import copy
import pickle
import sys
import threading
from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from storage import cipher
from storage.cipher import DataKey
from storage.errors import SealBroken

KEY_BYTES = bytes(range(100, 132))
KEY = DataKey.new(KEY_BYTES)
ROW_PLACES = (cipher.update_place, cipher.snapshot_place, cipher.knowledge_place)
OWNER_PLACES = (cipher.library_key_place, cipher.user_key_place)

plains = st.binary(max_size=300)
bigints = st.integers(-(2**63), 2**63 - 1)
Place = tuple[object, ...]


def bytes_of(place: Place) -> bytes:
    build, *arguments = place
    assert callable(build)
    built = build(*arguments)
    assert isinstance(built, bytes)
    return built


def places() -> st.SearchStrategy[Place]:
    """Any place, as the builder and its arguments."""
    # few ids and numbers, so that places differ in one field only, often
    ids = st.sampled_from([UUID(int=0), UUID(int=1), UUID(int=2**128 - 1)]) | st.uuids()
    numbers = st.integers(0, 2) | bigints
    hashes = st.sampled_from([bytes(32), bytes(31) + b"\1"]) | st.binary(min_size=32, max_size=32)
    return st.one_of(
        st.tuples(st.sampled_from(ROW_PLACES), ids, numbers, numbers),
        st.tuples(st.sampled_from(OWNER_PLACES), ids),
        st.tuples(st.just(cipher.devices_place), ids, ids.map(lambda question: question.bytes)),
        st.tuples(st.just(cipher.share_place), ids, ids),
        st.tuples(st.just(cipher.answer_place), ids, hashes, hashes),
        st.tuples(
            st.just(cipher.secret_place), ids, st.sampled_from(["", "refresh", "api-key"]) | st.text(max_size=40).filter(encodable), ids
        ),
    )


def encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


@pytest.fixture(params=["at once", "in slices"])
def seal(request: pytest.FixtureRequest) -> Callable[[bytes, bytes], bytes]:
    return KEY.seal if request.param == "at once" else KEY.seal_in_slices


@pytest.fixture(params=["at once", "in slices"])
def open_(request: pytest.FixtureRequest) -> Callable[[bytes, bytes], bytes]:
    return KEY.open if request.param == "at once" else KEY.open_in_slices


@given(plains, places())
def test_what_is_sealed_opens_in_its_place(plain: bytes, place: Place) -> None:
    sealed = KEY.seal(plain, bytes_of(place))
    assert len(sealed) == len(plain) + cipher.OVERHEAD_BYTES
    assert KEY.open(sealed, bytes_of(place)) == plain
    assert KEY.open_in_slices(sealed, bytes_of(place)) == plain


@given(places(), places())
def test_two_places_are_never_the_same_bytes(one: Place, other: Place) -> None:
    assert (bytes_of(one) == bytes_of(other)) == (one == other)


@given(plains, places(), places())
def test_a_row_moved_to_another_place_does_not_open(plain: bytes, place: Place, other: Place) -> None:
    assume(place != other)
    sealed = KEY.seal(plain, bytes_of(place))
    for open_there in (KEY.open, KEY.open_in_slices):
        with pytest.raises(SealBroken):
            open_there(sealed, bytes_of(other))


@given(plains, st.sampled_from(ROW_PLACES), st.uuids(), st.integers(0, 2**62), st.integers(0, 2**62), st.integers(1, 5))
def test_another_library_epoch_seq_or_purpose_does_not_open(
    plain: bytes, build: Callable[[UUID, int, int], bytes], library: UUID, epoch: int, seq: int, step: int
) -> None:
    sealed = KEY.seal(plain, build(library, epoch, seq))
    elsewhere = [build(UUID(int=library.int ^ step), epoch, seq), build(library, epoch + step, seq), build(library, epoch, seq + step)]
    if epoch != seq:
        elsewhere.append(build(library, seq, epoch))
    elsewhere += [other(library, epoch, seq) for other in ROW_PLACES if other is not build]
    for place in elsewhere:
        with pytest.raises(SealBroken):
            KEY.open(sealed, place)


@given(plains, places(), st.data())
def test_every_strict_prefix_is_refused(plain: bytes, place: Place, data: st.DataObject) -> None:
    sealed = KEY.seal(plain, bytes_of(place))
    cut = data.draw(st.integers(0, len(sealed) - 1))
    for open_there in (KEY.open, KEY.open_in_slices):
        with pytest.raises(SealBroken):
            open_there(sealed[:cut], bytes_of(place))
        with pytest.raises(SealBroken):
            open_there(sealed + b"\0", bytes_of(place))


@given(plains, places(), st.data())
def test_one_flipped_bit_is_refused(plain: bytes, place: Place, data: st.DataObject) -> None:
    sealed = bytearray(KEY.seal(plain, bytes_of(place)))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    for open_there in (KEY.open, KEY.open_in_slices):
        with pytest.raises(SealBroken):
            open_there(bytes(sealed), bytes_of(place))


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_any_bytes_open_or_are_refused_and_nothing_else(junk: bytes, place: bytes) -> None:
    for open_there in (KEY.open, KEY.open_in_slices):
        with pytest.raises(SealBroken):
            open_there(junk, place)


def test_an_unknown_version_is_named() -> None:
    sealed = KEY.seal(b"text", b"place")
    with pytest.raises(SealBroken, match="version 2"):
        KEY.open(b"\x02" + sealed[1:], b"place")


def test_another_key_does_not_open() -> None:
    sealed = KEY.seal(b"text", b"place")
    with pytest.raises(SealBroken):
        DataKey.new(bytes(range(32))).open(sealed, b"place")


@pytest.mark.parametrize("size", [0, 1, cipher.SLICE_BYTES - 1, cipher.SLICE_BYTES, cipher.SLICE_BYTES + 1, 3 * cipher.SLICE_BYTES + 5])
def test_slices_and_one_piece_are_the_same_format(
    size: int, seal: Callable[[bytes, bytes], bytes], open_: Callable[[bytes, bytes], bytes]
) -> None:
    plain = bytes(index * 7 % 251 for index in range(997)) * (size // 997 + 1)
    sealed = seal(plain[:size], b"place")
    assert len(sealed) == size + cipher.OVERHEAD_BYTES
    assert open_(sealed, b"place") == plain[:size]
    with pytest.raises(SealBroken):
        open_(sealed[:-1] + bytes([sealed[-1] ^ 1]), b"place")


def test_other_threads_run_between_slices() -> None:
    slices = 8
    turns = 0
    started, done = threading.Event(), threading.Event()

    def count() -> None:
        nonlocal turns
        started.set()
        while not done.is_set():
            turns += 1

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=count)
    sys.setswitchinterval(0.0001)  # what the counting thread keeps; sealing gives way by itself
    try:
        thread.start()
        started.wait()
        before = turns
        KEY.seal_in_slices(bytes(slices * cipher.SLICE_BYTES), b"place")
        during = turns - before
    finally:
        sys.setswitchinterval(interval)
        done.set()
        thread.join()
    assert during >= slices


def test_the_same_bytes_are_sealed_differently_each_time() -> None:
    assert len({KEY.seal(b"text", b"place") for _ in range(1000)}) == 1000


def test_a_wrapped_key_opens_what_the_key_sealed() -> None:
    inner = DataKey.new(bytes(range(32)))
    sealed = inner.seal(b"text", b"row")
    wrapped = KEY.seal_key(inner, b"library")
    assert KEY.open_key(wrapped, b"library").open(sealed, b"row") == b"text"
    with pytest.raises(SealBroken):
        KEY.open_key(wrapped, b"another library")


def test_sealed_bytes_that_are_no_key_are_not_taken_for_one() -> None:
    with pytest.raises(SealBroken, match="not a key"):
        KEY.open_key(KEY.seal(b"too short", b"library"), b"library")


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused_without_being_shown(size: int) -> None:
    with pytest.raises(ValueError, match=f"32 bytes, not {size}") as caught:
        DataKey.new(b"K" * size)
    assert "KK" not in str(caught.value)


def test_a_key_shows_nothing_of_itself() -> None:
    assert repr(KEY) == str(KEY) == f"{KEY}" == "DataKey(***)"
    assert not hasattr(KEY, "__dict__")


@pytest.mark.parametrize("spread", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_is_neither_pickled_nor_copied(spread: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        spread(KEY)


def test_a_broken_seal_carries_no_cause_from_below() -> None:
    with pytest.raises(SealBroken) as caught:
        KEY.open(KEY.seal(b"text", b"place"), b"elsewhere")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_fingerprint_tells_keys_and_labels_apart() -> None:
    other = DataKey.new(bytes(range(32)))
    assert len({KEY.fingerprint(b"a"), KEY.fingerprint(b"b"), other.fingerprint(b"a")}) == 3
    assert KEY.fingerprint(b"a") == DataKey.new(KEY_BYTES).fingerprint(b"a")
    assert KEY_BYTES not in KEY.fingerprint(b"a")
