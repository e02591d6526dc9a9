"""Passwords: their rules, and Argon2id off the event loop, bounded in memory and in waiting.

A check costs about 50 ms and 46 MiB on purpose, so as many run at once as there are cores, a bounded number wait, and the
rest are told to come back.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from auth.errors import TooBusy, WeakPassword

MIN_CHARACTERS = 8
MAX_CHARACTERS = 256
MAX_BYTES = 1024
MEMORY_KIB = 46 * 1024
"""OWASP's first choice for one pass and one lane; 49 ms on the machine of the benchmarks."""
WAITING_A_CORE = 32
"""Checks that may wait for each core: about 1.6 s of work, which is as long as a person waits."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether the password was right, and if so whether its hash should be made again with today's parameters."""

    correct: bool
    outdated: bool = False


@cache
def common() -> frozenset[str]:
    """The passwords that are tried first, case-folded (ASVS 6.2.4); about 2 MB, read once."""
    lines = Path(__file__).with_name("common_passwords.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("# "))


def require_acceptable(password: str, address: str | None = None) -> None:
    """Keep the rules for a new password of the account with this address.

    It is long enough, none of the common ones, and not the address or what stands before its @, in any case of letters. There are no
    rules about kinds of characters: they make passwords worse (ASVS 6.2.5).

    Raises:
        WeakPassword: shorter than 8 or longer than 256 characters, more than 1 KiB, not encodable, or easily guessed.
    """
    if len(password) < MIN_CHARACTERS:
        raise WeakPassword(f"at least {MIN_CHARACTERS} characters")
    if not fits(password):
        raise WeakPassword(f"at most {MAX_CHARACTERS} characters and {MAX_BYTES} bytes")
    folded = password.casefold()
    if folded in common():
        raise WeakPassword("none of the passwords that many people have")
    if address is not None and folded in (address.casefold(), address.casefold().rpartition("@")[0]):
        raise WeakPassword("not the address or a part of it")


def fits(password: str) -> bool:
    """Whether the password is within the bounds of what is hashed at all (a longer one is never cut)."""
    if len(password) > MAX_CHARACTERS:
        return False
    try:
        return len(password.encode()) <= MAX_BYTES
    except UnicodeEncodeError:
        return False


class Passwords:
    """Hashes and checks passwords in threads of its own; `argon2-cffi` releases the GIL."""

    def __init__(
        self,
        *,
        memory_kib: int = MEMORY_KIB,
        time_cost: int = 1,
        parallelism: int = 1,
        cores: int | None = None,
        max_waiting: int | None = None,
    ) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism, type=Type.ID)
        self._cores = cores or os.cpu_count() or 1
        self._max_open = self._cores + (WAITING_A_CORE * self._cores if max_waiting is None else max_waiting)
        self._threads = ThreadPoolExecutor(self._cores, thread_name_prefix="passwords")
        self._open = 0
        self._lock = threading.Lock()
        # Made with today's parameters, so that a check against nobody takes as long as one against somebody.
        self._decoy = self._hasher.hash(os.urandom(32))

    async def hash(self, password: str) -> str:
        """The hash to store for an acceptable password.

        Raises:
            TooBusy: too many wait already.
        """
        return await self._run(lambda: self._hasher.hash(password))

    async def check(self, password: str, stored: str | None) -> Checked:
        """Compare a password with a stored hash; None, for an unknown user, takes the same time and is never right.

        Raises:
            TooBusy: too many wait already.
        """
        return await self._run(lambda: self._check(password, stored))

    def close(self) -> None:
        """Take no more work; what waits is cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check(self, password: str, stored: str | None) -> Checked:
        try:
            self._hasher.verify(stored or self._decoy, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return Checked(False)
        return Checked(True, self._hasher.check_needs_rehash(stored)) if stored else Checked(False)

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        with self._lock:
            if self._open >= self._max_open:
                raise TooBusy
            self._open += 1
        job = self._threads.submit(work)
        # Counted by the thread's end, not the request's: a caller that goes away does not stop a hash that runs.
        job.add_done_callback(self._done)
        return await asyncio.wrap_future(job)

    def _done(self, _: "Future[_Result]") -> None:
        with self._lock:
            self._open -= 1
