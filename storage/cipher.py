"""Sealing: AES-256-GCM with a random nonce, bound to the place where the bytes are stored.

A sealed row is `version 1 | nonce (12 bytes) | ciphertext and tag (16 bytes)`. The associated data is the row's place:
a fixed prefix with a tag for the purpose, then fields of fixed length and at most one of variable length, at the end.
Two places are therefore never the same bytes, and a row that was moved, swapped, cut or altered does not open.

Nonces are random, so one key may seal 2**32 rows (NIST SP 800-38D, 8.3): an edit a second for 136 years.
Python cannot wipe `bytes`; what this module promises is that no key appears in a repr, a pickle or an error.
"""

import hashlib
import hmac
import time
from collections.abc import Sequence
from os import urandom
from struct import Struct
from typing import Never, Self
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.errors import SealBroken

KEY_BYTES = 32
OVERHEAD_BYTES = 29
"""What sealing adds to the plain bytes: version, nonce and tag."""
SLICE_BYTES = 1 << 20
"""How much is worked on before other threads get their turn: about 0.3 ms."""

_VERSION = 1
_VERSION_BYTE = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_BODY = 1 + _NONCE_BYTES

_ROW = Struct(">4s16sqq")
_OWNER = Struct(">4s16s")
_SECRET = Struct(">4s16s16s")
_ANSWER = Struct(">4s16s32s32s")
_MODEL_SECRET = Struct(">4s16s16s32s")


class DataKey:
    """A key that seals bytes for a place and opens them there again, and only there.

    Safe to use from several threads. Cannot be pickled or copied, and shows nothing of itself.
    """

    __slots__ = ("_aead", "_key")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
        self._key = key
        self._aead = AESGCM(key)

    @classmethod
    def new(cls, random: bytes) -> Self:
        """The key made of 32 fresh random bytes. Raises ValueError for any other length."""
        return cls(random)

    def seal(self, plain: bytes, place: bytes) -> bytes:
        """Seal `plain` for `place`: 29 bytes longer, about 2 us for a small row. Holds the GIL throughout."""
        nonce = urandom(_NONCE_BYTES)
        return _VERSION_BYTE + nonce + self._aead.encrypt(nonce, plain, place)

    def seal_each(self, plains: Sequence[bytes], places: Sequence[bytes]) -> list[bytes]:
        """Seal each of `plains` for its place, drawing all the nonces at once: for batches of small rows."""
        random = urandom(_NONCE_BYTES * len(plains))
        encrypt = self._aead.encrypt
        sealed = []
        for at, plain, place in zip(range(0, len(random), _NONCE_BYTES), plains, places, strict=True):
            nonce = random[at : at + _NONCE_BYTES]
            sealed.append(_VERSION_BYTE + nonce + encrypt(nonce, plain, place))
        return sealed

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Open what was sealed for `place`. Raises SealBroken when it was not, or when a bit of it differs."""
        _check_form(sealed)
        try:
            return self._aead.decrypt(sealed[1:_BODY], memoryview(sealed)[_BODY:], place)
        except InvalidTag:
            raise SealBroken("the sealed bytes do not open in this place") from None

    def seal_in_slices(self, plain: bytes, place: bytes) -> bytes:
        """Seal like `seal`, letting other threads run between slices of 1 MiB. For a thread of its own, past 256 KiB."""
        nonce = urandom(_NONCE_BYTES)
        encryptor = Cipher(algorithms.AES(self._key), modes.GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(place)
        parts = [_VERSION_BYTE, nonce]
        view = memoryview(plain)
        for start in range(0, len(plain), SLICE_BYTES):
            parts.append(encryptor.update(view[start : start + SLICE_BYTES]))
            _yield_gil()
        parts.append(encryptor.finalize())
        parts.append(encryptor.tag)
        return b"".join(parts)

    def open_in_slices(self, sealed: bytes, place: bytes) -> bytes:
        """Open like `open`, letting other threads run between slices of 1 MiB. Raises SealBroken.

        Nothing is returned before the tag over all slices has been verified.
        """
        _check_form(sealed)
        view = memoryview(sealed)
        end = len(sealed) - _TAG_BYTES
        mode = modes.GCM(sealed[1:_BODY], sealed[end:])
        decryptor = Cipher(algorithms.AES(self._key), mode).decryptor()
        decryptor.authenticate_additional_data(place)
        parts = []
        for start in range(_BODY, end, SLICE_BYTES):
            parts.append(decryptor.update(view[start : min(start + SLICE_BYTES, end)]))
            _yield_gil()
        try:
            parts.append(decryptor.finalize())
        except InvalidTag:
            raise SealBroken("the sealed bytes do not open in this place") from None
        return b"".join(parts)

    def seal_key(self, inner: "DataKey", place: bytes) -> bytes:
        """Wrap another key with this one, so that its bytes never leave this module."""
        return self.seal(inner._key, place)

    def open_key(self, wrapped: bytes, place: bytes) -> "DataKey":
        """Unwrap a key that `seal_key` wrapped for `place`. Raises SealBroken."""
        key = self.open(wrapped, place)
        if len(key) != KEY_BYTES:
            raise SealBroken("the sealed bytes are not a key")
        return DataKey(key)

    def fingerprint(self, label: bytes) -> bytes:
        """HMAC-SHA256 of `label` under this key: proves that it is the same key, and gives nothing of it away."""
        return hmac.digest(self._key, label, hashlib.sha256)

    def __repr__(self) -> str:
        return "DataKey(***)"

    def __reduce__(self) -> Never:
        raise TypeError("a key is neither pickled nor copied")


def _check_form(sealed: bytes) -> None:
    if len(sealed) < OVERHEAD_BYTES:
        raise SealBroken(f"{len(sealed)} bytes are too few to be sealed bytes")
    if sealed[0] != _VERSION:
        raise SealBroken(f"sealed bytes of version {sealed[0]} are unknown to this release")


def _yield_gil() -> None:
    # between two calls the interpreter would hand the GIL over only after its switch interval (5 ms)
    time.sleep(0)


def update_place(library_id: UUID, epoch: int, seq: int) -> bytes:
    """The place of one update of a library's log."""
    return _ROW.pack(b"PS1u", library_id.bytes, epoch, seq)


def snapshot_place(library_id: UUID, epoch: int, seq: int) -> bytes:
    """The place of a snapshot's content."""
    return _ROW.pack(b"PS1s", library_id.bytes, epoch, seq)


def knowledge_place(library_id: UUID, epoch: int, seq: int) -> bytes:
    """The place of what a snapshot holds and deletes."""
    return _ROW.pack(b"PS1k", library_id.bytes, epoch, seq)


def presence_place(library_id: UUID) -> bytes:
    """The place of what one process tells another about who is present in a library."""
    return _OWNER.pack(b"PS1p", library_id.bytes)


def devices_place(library_id: UUID, question: bytes) -> bytes:
    """The place of what one process answers another that asked with these 16 bytes which devices have a library open."""
    return _SECRET.pack(b"PS1d", library_id.bytes, question)


def secret_place(user_id: UUID, purpose: str, id: UUID) -> bytes:
    """The place of one of a user's secrets: `purpose` says of which kind, `id` which one."""
    return _SECRET.pack(b"PS1x", user_id.bytes, id.bytes) + purpose.encode()


def model_secret_place(user_id: UUID, secret_id: UUID, config_id: str, origin: str) -> bytes:
    """The place of what one of a user's model configurations is authorised by, at the one origin that it may be sent to."""
    return _MODEL_SECRET.pack(b"PS1m", user_id.bytes, secret_id.bytes, hashlib.sha256(config_id.encode()).digest()) + origin.encode()


def answer_place(user_id: UUID, key_hash: bytes, fingerprint: bytes) -> bytes:
    """The place of the answer that is kept under one of a user's idempotency keys, to the request of this fingerprint (32 bytes each)."""
    return _ANSWER.pack(b"PS1a", user_id.bytes, key_hash, fingerprint)


def share_place(library_id: UUID, share_id: UUID) -> bytes:
    """The place of what one of a library's share links opens, and with which code."""
    return _SECRET.pack(b"PS1c", library_id.bytes, share_id.bytes)


def library_key_place(library_id: UUID) -> bytes:
    """The place of a library's wrapped data key."""
    return _OWNER.pack(b"PS1L", library_id.bytes)


def user_key_place(user_id: UUID) -> bytes:
    """The place of a user's wrapped data key."""
    return _OWNER.pack(b"PS1U", user_id.bytes)
