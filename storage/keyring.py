"""The key-encryption keys: one wraps, all of them unwrap.

A data key's wrapping names the key that made it. A server that runs while the keys are rotated meets a name it does not
know yet; a keyring made with `reload` then looks into the key file once more. It also looks before it wraps, so
that new rows take the key that is active in the file, and a rotation comes to an end while servers run.
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Never

from storage.cipher import DataKey
from storage.errors import WrongKeys

_FINGERPRINT_LABEL = b"promptsync key-encryption key fingerprint 1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncryptionKey:
    """A key-encryption key under the name that wrapped data keys know it by."""

    id: str
    created_at: datetime
    key: DataKey = field(repr=False)

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that prove the same key, and from which it cannot be found."""
        return self.key.fingerprint(_FINGERPRINT_LABEL)

    def __reduce__(self) -> Never:
        raise TypeError("keys are neither pickled nor copied")


class Keyring:
    """Key-encryption keys, the active one first; the others only open.

    `reload` returns the keys as they are in the key file now, or None when the file has not changed since it was last
    asked. It may raise StorageError.
    """

    __slots__ = ("_keys", "_reload")

    def __init__(self, keys: Sequence[EncryptionKey], *, reload: "Callable[[], Keyring | None] | None" = None) -> None:
        if not keys:
            raise ValueError("a keyring needs a key")
        self._keys = {key.id: key for key in keys}
        if len(self._keys) != len(keys):
            raise ValueError("two keys of a keyring have one id")
        self._reload = reload

    @property
    def active_id(self) -> str:
        """The id of the key that wraps."""
        return next(iter(self._keys))

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all keys, the active one first."""
        return tuple(self._keys)

    @property
    def keys(self) -> tuple[EncryptionKey, ...]:
        """All keys, the active one first."""
        return tuple(self._keys.values())

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    def wrap(self, data_key: DataKey, place: bytes) -> tuple[str, bytes]:
        """Wrap a data key with the active key, as the key file has it now: its id, and the wrapped key.

        Raises:
            StorageError: the key file has changed, and cannot be read or is another one.
        """
        self.refresh()
        key_id = self.active_id
        return key_id, self._keys[key_id].key.seal_key(data_key, place)

    def unwrap(self, key_id: str, wrapped: bytes, place: bytes) -> DataKey:
        """Unwrap a data key that was wrapped for `place`.

        Raises:
            WrongKeys: no key has this id, in the key file as it is now either; the text names it.
            SealBroken: the wrapped key was moved here, or altered.
            StorageError: the key file had to be read again and cannot be.
        """
        if key_id not in self._keys:
            self.refresh()
        return self._key(key_id).key.open_key(wrapped, place)

    def fingerprint(self, key_id: str) -> bytes:
        """The fingerprint of one key. Raises WrongKeys when there is none of this id."""
        return self._key(key_id).fingerprint

    def matches(self, key_id: str, fingerprint: bytes) -> bool:
        """Whether the key of this id has this fingerprint, compared in constant time. Raises WrongKeys."""
        return hmac.compare_digest(self.fingerprint(key_id), fingerprint)

    def refresh(self) -> None:
        """Take over what the key file holds now, if it has changed. Keys that it no longer holds are kept.

        Raises:
            WrongKeys: it holds another key under a known id.
            StorageError: it cannot be read.
        """
        fresh = self._reload() if self._reload else None
        if fresh is None:
            return
        for key in fresh.keys:
            if key.id in self._keys and not self.matches(key.id, key.fingerprint):
                raise WrongKeys(f"the key file now holds another key under the id {key.id}")
        # one assignment: other threads see the old keys or the new ones
        self._keys = fresh._keys | {id: key for id, key in self._keys.items() if id not in fresh}

    def _key(self, key_id: str) -> EncryptionKey:
        try:
            return self._keys[key_id]
        except KeyError:
            raise WrongKeys(f"the key {key_id} is needed and is not in the key file, which has {', '.join(self._keys)}") from None

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)})"

    def __reduce__(self) -> Never:
        raise TypeError("keys are neither pickled nor copied")
