"""The key file: the one thing that must be kept beside the database, and never with it.

One JSON file, 0600, holding the keys that wrap data keys (the first is active) and the seeds that sign tokens (the first
signs). It is written whole into a temporary file of the same folder, synced and renamed, so that a crash leaves the old
file or the new one. Errors name the file, the place in it and the command to run, and never quote its content.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Never, Self

from storage.cipher import KEY_BYTES, DataKey
from storage.errors import StorageError
from storage.keyring import EncryptionKey, Keyring
from storage.privatefile import NotPrivate, create_private, read_private, replace_private, version_of

_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LEAST_DISTINCT = 8


class KeyFileError(StorageError):
    """The key file cannot be used; the text names it and what to do."""


class KeyFileMissing(KeyFileError):
    """There is no key file at this path."""


class Origin(StrEnum):
    """Who made the keys; production refuses generated ones."""

    GENERATED = "generated"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A seed of 32 bytes that signs tokens, under the name that tokens know it by."""

    id: str
    seed: bytes = field(repr=False)

    def __reduce__(self) -> Never:
        raise TypeError("keys are neither pickled nor copied")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key as it stands in the file."""

    id: str
    secret: bytes = field(repr=False)
    created_at: datetime

    def __reduce__(self) -> Never:
        raise TypeError("keys are neither pickled nor copied")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeyFile:
    """The content of a key file. Frozen: `with_new_encryption_key` makes the next content, `save` writes it."""

    path: Path
    origin: Origin
    _encryption: tuple[_Entry, ...] = field(repr=False)
    _signing: tuple[_Entry, ...] = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key file.

        Raises:
            KeyFileMissing: there is none.
            KeyFileError: others can read or write it, another account owns it, or it is not a key file.
        """
        try:
            content = read_private(path)
        except FileNotFoundError:
            raise KeyFileMissing(f"there is no key file {path}") from None
        except NotPrivate as error:
            raise KeyFileError(f"the key file {error}") from None
        except OSError as error:
            raise KeyFileError(f"the key file {path} cannot be read: {error.strerror}") from error
        return cls._parse(path, content)

    @classmethod
    def create(cls, path: Path, origin: Origin, now: datetime, random: Callable[[int], bytes]) -> Self:
        """Write a new key file with one encryption key and one signing key, and return it once it is on the disk.

        `random` gives that many random bytes from the system's source (`secrets.token_bytes`). The folder is made,
        0700, when there is none.

        Raises:
            KeyFileError: there already is one (it is left as it is), or it cannot be written.
        """
        made = cls(
            path=path,
            origin=origin,
            _encryption=(_new_entry("kek", now, random),),
            _signing=(_new_entry("sig", now, random),),
        )
        made.copy_to(path)
        return made

    @property
    def keyring(self) -> Keyring:
        """The encryption keys as this content has them."""
        return Keyring(
            [EncryptionKey(id=entry.id, created_at=entry.created_at, key=DataKey.new(entry.secret)) for entry in self._encryption]
        )

    def live_keyring(self) -> Keyring:
        """The encryption keys, following the file when it changes: for a process that runs on while keys are rotated."""
        return Keyring(self.keyring.keys, reload=_Changed(self.path))

    @property
    def signing(self) -> tuple[SigningKey, ...]:
        """The signing keys; the first one signs, all of them verify."""
        return tuple(SigningKey(entry.id, entry.secret) for entry in self._signing)

    def with_new_encryption_key(self, now: datetime, random: Callable[[int], bytes]) -> Self:
        """This content with a new active encryption key; the others stay to open what they wrapped."""
        taken = {entry.id for entry in self._encryption}
        entry = _new_entry("kek", now, random)
        while entry.id in taken:
            entry = _new_entry("kek", now, random)
        return replace(self, _encryption=(entry, *self._encryption))

    def save(self) -> None:
        """Replace the file by this content, whole or not at all; it is on the disk when this returns. Raises KeyFileError."""
        try:
            replace_private(self.path, self._encode())
        except OSError as error:
            raise KeyFileError(f"the key file {self.path} cannot be written: {error.strerror}") from error

    def copy_to(self, path: Path) -> None:
        """Write this content to a new file; it is on the disk when this returns. A missing folder is made, 0700.

        Raises:
            KeyFileError: there is a file of this name (it is left as it is), or it cannot be written.
        """
        try:
            create_private(path, self._encode())
        except FileExistsError:
            raise KeyFileError(f"there already is a file {path}; it was left as it is") from None
        except OSError as error:
            raise KeyFileError(f"the key file {path} cannot be written: {error.strerror}") from error

    def _encode(self) -> bytes:
        content = {
            "version": 1,
            "origin": str(self.origin),
            "encryption": [
                {"id": e.id, "key": base64.b64encode(e.secret).decode(), "created_at": e.created_at.isoformat()} for e in self._encryption
            ],
            "signing": [
                {"id": e.id, "seed": base64.b64encode(e.secret).decode(), "created_at": e.created_at.isoformat()} for e in self._signing
            ],
        }
        return json.dumps(content, indent=2).encode() + b"\n"

    @classmethod
    def _parse(cls, path: Path, content: bytes) -> Self:
        try:
            fields = _json(content)
            if type(fields.get("version")) is not int or fields["version"] != 1:
                raise _Unfit("its version is unknown to this release")
            if fields.keys() != {"version", "origin", "encryption", "signing"}:
                raise _Unfit("it needs exactly version, origin, encryption and signing")
            origin = fields["origin"]
            if not isinstance(origin, str) or origin not in tuple(Origin):
                raise _Unfit("origin is generated or operator")
            return cls(
                path=path,
                origin=Origin(origin),
                _encryption=_entries(fields["encryption"], "encryption", "key"),
                _signing=_entries(fields["signing"], "signing", "seed"),
            )
        except _Unfit as unfit:
            reason = unfit.reason
        # raised out here: neither cause nor context of the error may hold the content
        raise KeyFileError(f"the key file {path} cannot be used: {reason}; put your copy of it back")

    def __reduce__(self) -> Never:
        raise TypeError("keys are neither pickled nor copied")


class _Changed:
    """Loads a key file when it is not the version that was loaded last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()  # the first call loads: what the caller holds may be older than the file

    def __call__(self) -> Keyring | None:
        try:
            version = version_of(self._path)
        except OSError as error:
            raise KeyFileError(f"the key file {self._path} cannot be read: {error.strerror}") from error
        if version == self._seen:
            return None
        # taken before the file is read: a change in between is loaded next time
        keyring = KeyFile.load(self._path).keyring
        self._seen = version
        return keyring


class _Unfit(Exception):
    """The content is not a key file's; `reason` quotes nothing of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _json(content: bytes) -> dict[str, object]:
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise _Unfit("it is not a JSON object")
    return fields


def _entries(value: object, kind: str, secret: str) -> tuple[_Entry, ...]:
    if not isinstance(value, list) or not value:
        raise _Unfit(f"{kind} needs a list of at least one key")
    entries = tuple(_entry(item, f"{kind}[{index}]", secret) for index, item in enumerate(value))
    if len({entry.id for entry in entries}) != len(entries):
        raise _Unfit(f"{kind} has two keys of one id")
    return entries


def _entry(item: object, where: str, secret: str) -> _Entry:
    if not isinstance(item, dict) or item.keys() != {"id", secret, "created_at"} or not all(isinstance(v, str) for v in item.values()):
        raise _Unfit(f"{where} needs exactly id, {secret} and created_at, all texts")
    if not _ID.fullmatch(item["id"]):
        raise _Unfit(f"{where}.id is 1 to 64 letters, digits, dots, dashes or underscores")
    return _Entry(item["id"], _secret(item[secret], f"{where}.{secret}"), _time(item["created_at"], f"{where}.created_at"))


def _secret(text: str, where: str) -> bytes:
    try:
        secret = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise _Unfit(f"{where} is not {KEY_BYTES} bytes in base64")
    # random bytes have about 30 distinct values among 32; fewer than 8 come from a person or an example
    if len(set(secret)) < _LEAST_DISTINCT:
        raise _Unfit(f"{where} is not random")
    return secret


def _time(text: str, where: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise _Unfit(f"{where} is not a time with its zone")
    return time


def _new_entry(kind: str, now: datetime, random: Callable[[int], bytes]) -> _Entry:
    if now.tzinfo is None:
        raise ValueError("the time of a key needs its zone")
    return _Entry(f"{kind}-{random(4).hex()}", random(KEY_BYTES), now)
