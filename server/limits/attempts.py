"""The limits that all processes count together: who may try what how often. Each number is a setting; docs/limits.md has the table."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from uuid import UUID

from auth import emails
from auth.errors import InvalidEmail
from auth.mail import Kind
from server.config import Settings
from server.limits.addresses import bucket_of
from server.limits.buckets import Buckets
from server.limits.counters import Counters, Failures, Rate
from storage import origins
from storage.pool import Database

FORGET_SECONDS = 12 * 3600
"""Failed logins are forgotten so long after the first of them."""
KNOWN_FOR = timedelta(days=30)
"""A device or address is its account's own so long after a session was last seen there; ended sessions are kept as long."""
HOUR, QUARTER, MINUTE = 3600, 900, 60


@dataclass(frozen=True, slots=True)
class Tried:
    """A login that counts as failed: which counters to clear when it did not fail."""

    account: str = field(repr=False)
    origin: str = field(repr=False)
    known: bool


class Limits:
    """What accounts and addresses may try. Every method counts, and raises TooManyAttempts where that is one too many."""

    def __init__(self, settings: Settings, counters: Counters, database: Database, clock: Callable[[], datetime]) -> None:
        self._counters = counters
        self._database = database
        self._clock = clock
        self._logins = Rate.a_minute("login", settings.login_attempts_a_minute, burst=settings.login_attempts_burst)
        self._by_origin = _failures(counters, "login_failures", settings, settings.login_free_failures)
        self._by_account = _failures(counters, "account_failures", settings, settings.login_failures_an_account)
        self._registrations = Rate("registration", settings.registrations_an_hour, HOUR)
        self._mails = Rate("mail", settings.mails_a_mailbox, HOUR)
        self._mails_of_address = Rate("mail_address", settings.mails_an_address, HOUR)
        self._refreshes = Rate.a_minute("refresh", settings.refreshes_a_minute)
        self._refreshes_of_address = Buckets("refresh_address", a_minute=settings.refreshes_an_address, clock=monotonic)
        self._password_checks = Rate("password_check", settings.password_checks, QUARTER)
        self._social = Rate.a_minute("social", settings.social_attempts_a_minute, burst=2 * settings.social_attempts_a_minute)
        self._imports = Rate.a_minute("import", settings.imports_a_minute, burst=3 * settings.imports_a_minute)
        self._forces = Rate("force", 1, settings.force_seconds)
        self._model_calls = Rate.a_minute("model_calls", settings.model_calls_a_minute)
        self._validations = Rate.a_minute("model_validation", settings.model_validations_a_minute)
        self._restores = Rate.a_minute("restore", settings.restores_a_minute)
        self._sync_request_bytes = settings.sync_bytes_a_minute // settings.sync_requests_a_minute
        # and a little more than the bytes: else the small bodies of as many requests as are allowed would cost the last one
        self._sync = Rate("sync", settings.sync_bytes_a_minute + self._sync_request_bytes - 1, MINUTE)

    async def close(self) -> None:
        """Let go of the connections to where the counters are, if it has any of its own."""
        await self._counters.close()

    async def attempt(self, address: str) -> None:
        """Count a login from this address, whoever it is for."""
        await self._counters.hit(self._logins, bucket_of(address))

    async def registration(self, address: str) -> None:
        """Count a registration from this address."""
        await self._counters.hit(self._registrations, bucket_of(address))

    async def login(self, email: str, address: str, device_id: UUID | None = None) -> Tried:
        """Count a login to this account as failed, until `succeeded` is told otherwise.

        Counted before the password is checked, so that many at once do not all pass; the same for accounts that do not exist. By
        account and address, so that a stranger locks out nobody but the stranger; one of the account's own devices counts by itself,
        also beside a stranger at the same address. All that come from elsewhere than the account's devices and addresses wait for
        each other, too, when many of them fail.
        """
        account = _key_of(email)
        bucket = bucket_of(address)
        own_device, own_address = await self._known(account, device_id, bucket)
        tried = Tried(account, str(device_id) if own_device else bucket, own_device or own_address)
        await self._by_origin.attempt(tried.account, tried.origin)
        if not tried.known:
            await self._by_account.attempt(tried.account)
        return tried

    async def succeeded(self, tried: Tried) -> None:
        """Forget the failures that this login was counted among."""
        await self._by_origin.forget(tried.account, tried.origin)
        if not tried.known:
            await self._by_account.forget(tried.account)

    async def _known(self, account: str, device_id: UUID | None, bucket: str) -> tuple[bool, bool]:
        """Whether the device, and whether the address, is one of the account's own."""
        async with self._database.acquire() as connection:
            found = await origins.of_account(connection, account, since=self._clock() - KNOWN_FOR)
        return any(each.device_id == device_id for each in found), any(bucket_of(each.address) == bucket for each in found)

    async def mail(self, email: str, address: str, kind: Kind) -> None:
        """Count that somebody at this address has such a mail sent to this mailbox, whether an account has it or not.

        Each kind counts by itself: whoever goes on registering another's address does not use up its owner's resets.
        """
        await self._counters.hit(self._mails_of_address, bucket_of(address))
        await self._counters.hit(self._mails, _key_of(email), kind.value)

    async def refresh(self, session_id: UUID, address: str) -> None:
        """Count a refresh of this session from this address: somebody elsewhere cannot use up what it has."""
        self._refreshes_of_address.take(address)
        await self._counters.hit(self._refreshes, str(session_id), bucket_of(address))

    async def password_check(self, user_id: UUID) -> None:
        """Count that a signed-in user shows the password once more, or changes it."""
        await self._counters.hit(self._password_checks, str(user_id))

    async def social(self, address: str) -> None:
        """Count a sign-in by another provider from this address."""
        await self._counters.hit(self._social, bucket_of(address))

    async def sync(self, user_id: UUID, nbytes: int) -> None:
        """Count a request of `POST /api/sync/{library}` with a body of so many bytes."""
        await self.sync_bytes(user_id, self._sync_request_bytes + nbytes)

    async def sync_bytes(self, user_id: UUID, nbytes: int) -> None:
        """Count the bytes of a body whose size was not known before it came."""
        await self._counters.hit(self._sync, str(user_id), cost=nbytes)

    async def bring_in(self, user_id: UUID) -> None:
        """Count an import, or the preview of one."""
        await self._counters.hit(self._imports, str(user_id))

    async def model_call(self, user_id: UUID) -> None:
        """Count that the user begins a call of a model."""
        await self._counters.hit(self._model_calls, str(user_id))

    async def force(self, user_id: UUID) -> None:
        """Count that the user has libraries brought up to date: it asks every device and folds every tail."""
        await self._counters.hit(self._forces, str(user_id))

    async def validation(self, user_id: UUID) -> None:
        """Count that the user has a provider asked about a key."""
        await self._counters.hit(self._validations, str(user_id))

    async def restore(self, user_id: UUID) -> None:
        """Count that the user has a library put back: it folds the tail, keeps a restore point, and reads the library twice."""
        await self._counters.hit(self._restores, str(user_id))


def _failures(counters: Counters, limit: str, settings: Settings, free: int) -> Failures:
    return Failures(counters, limit, free=free, longest_seconds=settings.login_wait_seconds, forget_seconds=FORGET_SECONDS)


def _key_of(email: str) -> str:
    """The address as accounts compare it; one that nobody can have as it is."""
    try:
        return emails.parse(email).key
    except InvalidEmail:
        return email.lower()
