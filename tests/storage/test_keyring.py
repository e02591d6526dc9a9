import copy
import pickle
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from storage.cipher import DataKey
from storage.errors import SealBroken, StorageError, WrongKeys
from storage.keyring import EncryptionKey, Keyring

MADE = datetime(2026, 11, 22, tzinfo=UTC)
PLACE = b"a library"


def key(id: str, first_byte: int) -> EncryptionKey:
    return EncryptionKey(id=id, created_at=MADE, key=DataKey.new(bytes(range(first_byte, first_byte + 32))))


OLD, NEW, OTHER = key("kek-old", 1), key("kek-new", 100), key("kek-other", 200)


class KeysInAFile:
    """Stands for the key file: says what it holds once after each change."""

    def __init__(self, *keys: EncryptionKey) -> None:
        self.asked = 0
        self._fresh: Sequence[EncryptionKey] | None = keys

    def now_holds(self, *keys: EncryptionKey) -> None:
        self._fresh = keys

    def __call__(self) -> Keyring | None:
        self.asked += 1
        fresh, self._fresh = self._fresh, None
        return Keyring(fresh) if fresh is not None else None


def opens(data_key: DataKey, sealed: bytes) -> bool:
    return data_key.open(sealed, b"row") == b"text"


def test_the_first_key_wraps_and_every_key_unwraps() -> None:
    data_key = DataKey.new(bytes(32))
    sealed = data_key.seal(b"text", b"row")
    by_old = Keyring([OLD]).wrap(data_key, PLACE)
    by_new = Keyring([NEW, OLD]).wrap(data_key, PLACE)
    assert (by_old[0], by_new[0]) == ("kek-old", "kek-new")
    for key_id, wrapped in (by_old, by_new):
        assert opens(Keyring([NEW, OLD]).unwrap(key_id, wrapped, PLACE), sealed)


def test_a_wrapped_key_opens_only_in_its_place() -> None:
    keyring = Keyring([OLD])
    key_id, wrapped = keyring.wrap(DataKey.new(bytes(32)), PLACE)
    with pytest.raises(SealBroken):
        keyring.unwrap(key_id, wrapped, b"another library")


def test_a_wrapped_key_under_the_id_of_another_key_does_not_open() -> None:
    keyring = Keyring([NEW, OLD])
    _, wrapped = keyring.wrap(DataKey.new(bytes(32)), PLACE)
    with pytest.raises(SealBroken):
        keyring.unwrap("kek-old", wrapped, PLACE)


def test_a_missing_key_is_named_together_with_those_there_are() -> None:
    key_id, wrapped = Keyring([OLD]).wrap(DataKey.new(bytes(32)), PLACE)
    with pytest.raises(WrongKeys, match=r"kek-old.*has kek-new, kek-other"):
        Keyring([NEW, OTHER]).unwrap(key_id, wrapped, PLACE)
    with pytest.raises(WrongKeys, match="kek-old"):
        Keyring([NEW]).fingerprint("kek-old")


def test_a_fingerprint_proves_the_same_key() -> None:
    assert Keyring([OLD]).matches("kek-old", Keyring([NEW, key("kek-old", 1)]).fingerprint("kek-old"))
    assert not Keyring([OLD]).matches("kek-old", Keyring([key("kek-old", 2)]).fingerprint("kek-old"))
    assert len(OLD.fingerprint) == 32


def test_an_unknown_id_is_looked_for_in_the_file_once_more() -> None:
    file = KeysInAFile(OLD)
    server = Keyring([OLD], reload=file)
    data_key = DataKey.new(bytes(32))
    sealed = data_key.seal(b"text", b"row")
    key_id, wrapped = Keyring([NEW, OLD]).wrap(data_key, PLACE)
    file.now_holds(NEW, OLD)
    assert opens(server.unwrap(key_id, wrapped, PLACE), sealed)
    assert server.active_id == "kek-new"


def test_a_known_id_never_reads_the_file() -> None:
    file = KeysInAFile(OLD)
    server = Keyring([OLD], reload=file)
    key_id, wrapped = Keyring([OLD]).wrap(DataKey.new(bytes(32)), PLACE)
    server.unwrap(key_id, wrapped, PLACE)
    assert file.asked == 0


def test_what_is_wrapped_after_a_rotation_takes_the_new_key() -> None:
    file = KeysInAFile(OLD)
    server = Keyring([OLD], reload=file)
    file.now_holds(NEW, OLD)
    assert server.wrap(DataKey.new(bytes(32)), PLACE)[0] == "kek-new"


def test_keys_that_left_the_file_still_open_until_the_process_ends() -> None:
    file = KeysInAFile(OLD)
    server = Keyring([OLD], reload=file)
    data_key = DataKey.new(bytes(32))
    key_id, wrapped = server.wrap(data_key, PLACE)
    file.now_holds(NEW)
    server.refresh()
    assert server.ids == ("kek-new", "kek-old")
    assert opens(server.unwrap(key_id, wrapped, PLACE), data_key.seal(b"text", b"row"))


def test_an_id_that_is_in_no_file_is_refused_by_name_each_time() -> None:
    server = Keyring([OLD], reload=KeysInAFile(OLD))
    for _ in range(2):
        with pytest.raises(WrongKeys, match="kek-gone"):
            server.unwrap("kek-gone", bytes(61), PLACE)


def test_another_key_under_a_known_id_is_refused_and_the_keys_stay() -> None:
    file = KeysInAFile()
    server = Keyring([OLD], reload=file)
    file.now_holds(NEW, key("kek-old", 77))
    with pytest.raises(WrongKeys, match="another key under the id kek-old"):
        server.refresh()
    assert server.ids == ("kek-old",)


def test_nothing_is_wrapped_while_the_file_cannot_be_read() -> None:
    def gone() -> Keyring | None:
        raise StorageError("there is no key file")

    server = Keyring([OLD], reload=gone)
    with pytest.raises(StorageError, match="no key file"):
        server.wrap(DataKey.new(bytes(32)), PLACE)


def test_a_keyring_needs_a_key_and_no_two_of_one_id() -> None:
    with pytest.raises(ValueError, match="needs a key"):
        Keyring([])
    with pytest.raises(ValueError, match="one id"):
        Keyring([OLD, key("kek-old", 9)])


def test_a_keyring_shows_ids_and_nothing_else() -> None:
    assert repr(Keyring([NEW, OLD])) == "Keyring(kek-new, kek-old)"
    assert "\\x01" not in repr(OLD)
    assert "DataKey" not in repr(OLD)


@pytest.mark.parametrize("spread", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("secret", [Keyring([OLD]), OLD])
def test_keys_are_neither_pickled_nor_copied(secret: object, spread: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        spread(secret)
