import base64
import json
import os
import pickle
import secrets
import stat
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.cipher import DataKey
from storage.errors import WrongKeys
from storage.keyfile import KeyFile, KeyFileError, KeyFileMissing, Origin

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OTHER_ACCOUNT = 54321
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "keys.json"


def create(path: Path, origin: Origin = Origin.GENERATED) -> KeyFile:
    return KeyFile.create(path, origin, NOW, secrets.token_bytes)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)


def secrets_in(path: Path) -> list[str]:
    fields = json.loads(path.read_bytes())
    texts = [entry["key"] for entry in fields["encryption"]] + [entry["seed"] for entry in fields["signing"]]
    raw = [base64.b64decode(text) for text in texts]
    return texts + [text[:12] for text in texts] + [repr(key)[2:-1] for key in raw] + [key.hex() for key in raw]


def test_a_created_file_is_loaded_with_the_same_keys(path: Path) -> None:
    made, loaded = create(path, Origin.OPERATOR), KeyFile.load(path)
    data_key = DataKey.new(bytes(range(32)))
    assert loaded.keyring.unwrap(*made.keyring.wrap(data_key, b"place"), b"place")
    assert loaded.signing == made.signing
    assert (loaded.origin, loaded.path) == (Origin.OPERATOR, path)
    assert loaded.keyring.keys[0].created_at == NOW
    assert len(loaded.signing[0].seed) == 32


def test_the_format_is_the_documented_one(path: Path) -> None:
    create(path)
    fields = json.loads(path.read_bytes())
    assert list(fields) == ["version", "origin", "encryption", "signing"]
    assert (fields["version"], fields["origin"]) == (1, "generated")
    assert list(fields["encryption"][0]) == ["id", "key", "created_at"]
    assert list(fields["signing"][0]) == ["id", "seed", "created_at"]


def test_only_the_owner_may_read_what_is_written_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        create(path)
        assert (mode(path), mode(path.parent)) == (0o600, 0o700)
        KeyFile.load(path).save()
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert os.listdir(path.parent) == ["keys.json"]


def test_the_mode_of_an_existing_folder_stays(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    path.parent.chmod(0o755)
    create(path)
    assert mode(path.parent) == 0o755


def test_an_existing_file_is_never_overwritten_by_create(path: Path) -> None:
    write(path, b"precious")
    with pytest.raises(KeyFileError, match="already is a file"):
        create(path)
    assert path.read_bytes() == b"precious"
    assert os.listdir(path.parent) == ["keys.json"]


def test_a_file_system_without_hard_links_is_served_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    create(path)
    assert KeyFile.load(path).keyring.ids
    assert os.listdir(path.parent) == ["keys.json"]
    with pytest.raises(KeyFileError, match="already is"):
        create(path)


def test_a_missing_file_is_said_to_be_missing(path: Path) -> None:
    with pytest.raises(KeyFileMissing, match=r"no key file .*keys\.json"):
        KeyFile.load(path)


@pytest.mark.parametrize("open_to_others", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666, 0o610])
def test_a_file_that_others_can_get_at_is_refused_with_the_remedy(path: Path, open_to_others: int) -> None:
    create(path)
    path.chmod(open_to_others)
    with pytest.raises(KeyFileError, match=rf"mode {open_to_others:04o}\); run: chmod 600 {path}"):
        KeyFile.load(path)


@as_root
def test_a_file_of_another_account_is_refused_with_the_remedy(path: Path) -> None:
    create(path)
    os.chown(path, OTHER_ACCOUNT, -1)
    with pytest.raises(KeyFileError, match=rf"belongs to uid {OTHER_ACCOUNT}.*chown 0 {path}"):
        KeyFile.load(path)


def test_a_pipe_in_the_place_of_the_file_is_refused_at_once(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyFileError, match="not an ordinary file"):
        KeyFile.load(path)


def test_a_folder_that_cannot_be_written_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeyFileError, match="cannot be written"):
        create(tmp_path / "file" / "keys.json")


def spoilt(fields: dict[str, Any], how: str) -> dict[str, Any]:
    key = fields["encryption"][0]
    match how:
        case "version":
            fields["version"] = 2
        case "version as true":
            fields["version"] = True
        case "origin":
            fields["origin"] = "somebody"
        case "no keys":
            fields["encryption"] = []
        case "keys no list":
            fields["encryption"] = {"0": key}
        case "no signing":
            del fields["signing"]
        case "unknown field":
            fields["comment"] = "x"
        case "unknown field of a key":
            key["comment"] = "x"
        case "short key":
            key["key"] = key["key"][:20]
        case "not base64":
            key["key"] = "!" + key["key"][1:]
        case "lone surrogate":
            key["key"] = "\ud800" + key["key"][1:]
        case "example key":
            key["key"] = base64.b64encode(b"0123" * 8).decode()
        case "number for a key":
            key["key"] = 7
        case "one id twice":
            fields["encryption"].append(key)
        case "bad id":
            key["id"] = "a b\n"
        case "no zone":
            key["created_at"] = "2026-11-22T12:00:00"
        case "no time":
            key["created_at"] = "yesterday"
    return fields


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("version", "version"),
        ("version as true", "version"),
        ("origin", "origin is generated or operator"),
        ("no keys", "encryption needs a list"),
        ("keys no list", "encryption needs a list"),
        ("no signing", "exactly version, origin, encryption and signing"),
        ("unknown field", "exactly version, origin, encryption and signing"),
        ("unknown field of a key", r"encryption\[0\] needs exactly"),
        ("short key", r"encryption\[0\]\.key is not 32 bytes"),
        ("not base64", r"encryption\[0\]\.key is not 32 bytes"),
        ("lone surrogate", r"encryption\[0\]\.key is not 32 bytes"),
        ("example key", r"encryption\[0\]\.key is not random"),
        ("number for a key", r"encryption\[0\] needs exactly"),
        ("one id twice", "two keys of one id"),
        ("bad id", r"encryption\[0\]\.id"),
        ("no zone", r"encryption\[0\]\.created_at"),
        ("no time", r"encryption\[0\]\.created_at"),
    ],
)
def test_a_malformed_file_is_refused_by_place_and_shows_no_key(path: Path, how: str, said: str) -> None:
    create(path)
    known = secrets_in(path)
    write(path, json.dumps(spoilt(json.loads(path.read_bytes()), how)).encode())
    with pytest.raises(KeyFileError, match=said) as caught:
        KeyFile.load(path)
    assert str(path) in str(caught.value)
    assert_nothing_shown(caught.value, known)


def assert_nothing_shown(error: BaseException, known: list[str]) -> None:
    """Neither the text nor anything that hangs on the error holds a key, `JSONDecodeError.doc` included."""
    told = "".join(traceback.format_exception(error))
    links: BaseException | None = error
    while links is not None:
        told += repr(links) + repr(vars(links))
        links = links.__context__
    assert not [secret for secret in known if secret in told]


def test_a_file_cut_anywhere_is_refused_and_shows_no_key(path: Path) -> None:
    create(path)
    content, known = path.read_bytes(), secrets_in(path)
    for cut in range(0, len(content) - 1, 7):
        write(path, content[:cut])
        with pytest.raises(KeyFileError) as caught:
            KeyFile.load(path)
        assert_nothing_shown(caught.value, known)


@pytest.fixture(scope="module")
def junk_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("junk") / "keys.json"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_content_is_refused_with_the_documented_error(junk_path: Path, content: bytes) -> None:
    write(junk_path, content)
    with pytest.raises(KeyFileError):
        KeyFile.load(junk_path)


def test_a_nest_of_brackets_is_refused(path: Path) -> None:
    write(path, b"[" * 200_000)
    with pytest.raises(KeyFileError, match="not a JSON object"):
        KeyFile.load(path)


def test_a_huge_file_is_refused_unread(path: Path) -> None:
    write(path, b"")
    os.truncate(path, 1 << 40)
    with pytest.raises(KeyFileError, match="more than"):
        KeyFile.load(path)


def test_a_new_key_becomes_the_active_one_and_the_old_one_stays(path: Path) -> None:
    made = create(path)
    (old,) = made.keyring.ids
    made.with_new_encryption_key(NOW + timedelta(days=1), secrets.token_bytes).save()
    loaded = KeyFile.load(path)
    assert loaded.keyring.ids[1:] == (old,)
    assert loaded.keyring.active_id.startswith("kek-")
    assert loaded.signing == made.signing


def test_a_new_key_never_takes_a_used_id(path: Path) -> None:
    made = create(path)
    taken = bytes.fromhex(made.keyring.active_id.removeprefix("kek-"))
    draws = iter([taken, secrets.token_bytes(32), b"free", secrets.token_bytes(32)])
    assert made.with_new_encryption_key(NOW, lambda _: next(draws)).keyring.active_id == f"kek-{b'free'.hex()}"


def test_a_time_without_its_zone_is_not_written(path: Path) -> None:
    with pytest.raises(ValueError, match="zone"):
        KeyFile.create(path, Origin.GENERATED, datetime(2026, 11, 22), secrets.token_bytes)
    assert not path.exists()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file_whole(path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = create(path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(KeyFileError, match="No space left"):
        made.with_new_encryption_key(NOW, secrets.token_bytes).save()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["keys.json"]


def test_content_and_folder_are_synced_around_the_rename(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = create(path)
    done: list[str] = []
    fsync, rename = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def note_rename(source: Path, target: Path) -> None:
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_rename)
    made.save()
    assert done == ["file", "rename", "folder"]


def test_a_live_keyring_follows_the_file(path: Path) -> None:
    server = create(path).live_keyring()
    rotated = KeyFile.load(path).with_new_encryption_key(NOW, secrets.token_bytes)
    rotated.save()
    data_key = DataKey.new(bytes(range(32)))
    key_id, wrapped = rotated.keyring.wrap(data_key, b"place")
    assert server.unwrap(key_id, wrapped, b"place").open(data_key.seal(b"text", b"row"), b"row") == b"text"
    assert server.wrap(data_key, b"place")[0] == key_id


def test_a_live_keyring_reads_an_unchanged_file_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = create(path).live_keyring()
    server.refresh()
    monkeypatch.setattr(KeyFile, "load", lambda path: pytest.fail("read again"))
    for _ in range(3):
        server.wrap(DataKey.new(bytes(range(32))), b"place")
        with pytest.raises(WrongKeys):
            server.unwrap("kek-gone", bytes(61), b"place")


def test_a_live_keyring_wraps_nothing_once_the_file_is_gone(path: Path) -> None:
    server = create(path).live_keyring()
    path.unlink()
    with pytest.raises(KeyFileError, match="cannot be read"):
        server.wrap(DataKey.new(bytes(range(32))), b"place")


def test_nothing_of_a_key_file_shows_or_is_pickled(path: Path) -> None:
    made = create(path)
    shown = "".join(repr(part) for part in (made, made.keyring, *made.keyring.keys, *made.signing, made._encryption, made._signing))
    assert not [secret for secret in secrets_in(path) if secret in shown]
    for part in (made, made.keyring, *made.signing, *made._encryption):
        with pytest.raises(TypeError, match="neither pickled"):
            pickle.dumps(part)
