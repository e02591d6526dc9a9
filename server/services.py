"""What the handlers need, made once at the start and never changed: no globals, no look-ups by name."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from starlette.requests import HTTPConnection

from auth.accounts import Accounts
from auth.administration import Administration
from auth.audit import Caller
from auth.credentials import Credentials
from auth.endings import Endings
from auth.google import Google
from auth.identities import Identities
from auth.mailboxes import Mailboxes
from auth.passwords import Passwords
from auth.reauthentication import Reauthentication
from auth.registrations import Registrations
from auth.sessions import Lifetimes, Sessions
from auth.social_states import SocialStates
from auth.tokens import Tokens
from auth.vault import Vault
from auth.wechat_sign_in import WeChatSignIn
from crdt.seed import SEED
from server.ai.model_caller import ModelCaller
from server.ai.model_process import ModelProcess
from server.ai.models import Models
from server.ai.shared_models import load_shared_models
from server.config import Settings
from server.google import make_google
from server.idempotency import Idempotency
from server.limits import Buckets, Limits, Network, SharedReads, client_address, trusted_networks
from server.limits.backing import counter_store
from server.limits.counters import Counters
from server.opened_shares import OpenedShares
from server.purge import enqueue_account_purge
from server.times import utc_now
from server.wechat import make_wechat
from storage.keyring import Keyring
from storage.pool import Database

MAX_USER_AGENT = 256
"""Characters of what a client calls itself that are kept; the rest is cut off."""


@dataclass(slots=True)
class Hooks:
    """Who is told, after the commit, what has ended. Filled in by whoever keeps the sockets; must not block."""

    sessions_revoked: Callable[[Iterable[UUID]], None] = lambda session_ids: None
    library_deleted: Callable[[UUID], None] = lambda library_id: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of a running server, as handlers see them."""

    settings: Settings
    database: Database
    keyring: Keyring = field(repr=False)
    tokens: Tokens = field(repr=False)
    passwords: Passwords
    sessions: Sessions
    endings: Endings
    reauthentication: Reauthentication
    administration: Administration
    accounts: Accounts
    registrations: Registrations
    mailboxes: Mailboxes
    credentials: Credentials
    identities: Identities
    google: Google
    wechat: WeChatSignIn
    limits: Limits
    models: Models
    openings: Buckets
    shared_reads: SharedReads
    opened_shares: OpenedShares
    idempotency: Idempotency
    vault: Vault
    trusted_proxies: tuple[Network, ...]
    hooks: Hooks
    clock: Callable[[], datetime]
    random: Callable[[int], bytes]

    def address_of(self, connection: HTTPConnection) -> str:
        """The address that this request or socket comes from."""
        return client_address(connection.scope, self.trusted_proxies)

    def caller_of(self, connection: HTTPConnection) -> Caller:
        """Where this request or socket comes from, as the audit log keeps it."""
        agent = connection.headers.get("user-agent", "")[:MAX_USER_AGENT]
        printable = "".join(character for character in agent if character.isprintable())
        return Caller(address=self.address_of(connection), user_agent=printable)


def make_services(
    settings: Settings,
    *,
    database: Database,
    keyring: Keyring,
    signing_keys: Sequence[tuple[str, bytes]],
    passwords: Passwords | None = None,
    clock: Callable[[], datetime] = utc_now,
    random: Callable[[int], bytes] = os.urandom,
    make_caller: Callable[[Settings], ModelCaller] = ModelProcess,
) -> Services:
    """Wire the parts together. Signing keys are (id, seed of 32 bytes); the first one signs. `make_caller` makes what calls models.

    Raises:
        BadModelsFile: as `load_shared_models`.
    """
    hooks = Hooks()
    passwords = passwords or Passwords()
    tokens = Tokens(signing_keys, issuer=settings.issuer, random=random)
    sessions = Sessions(
        database=database,
        keyring=keyring,
        tokens=tokens,
        lifetimes=Lifetimes(
            access=timedelta(seconds=settings.access_token_seconds),
            idle=timedelta(days=settings.session_idle_days),
            absolute=timedelta(days=settings.session_absolute_days),
            grace=timedelta(seconds=settings.refresh_grace_seconds),
            recent=timedelta(seconds=settings.recent_login_seconds),
        ),
        random=random,
        on_revoked=lambda session_ids: hooks.sessions_revoked(session_ids),
    )
    identities = Identities(database=database, keyring=keyring, sessions=sessions, first_update=SEED, random=random)
    states = SocialStates(database=database, random=random)
    limits = Limits(
        settings,
        Counters(counter_store(settings, database, clock), secret=signing_keys[0][1], clock=clock),
        database,
        clock,
    )
    vault = Vault(database=database, keyring=keyring, random=random, clock=clock)
    shared = load_shared_models(settings)
    return Services(
        settings=settings,
        database=database,
        keyring=keyring,
        tokens=tokens,
        passwords=passwords,
        sessions=sessions,
        endings=Endings(database=database, tokens=tokens, sessions=sessions),
        reauthentication=Reauthentication(database=database, passwords=passwords, identities=identities),
        administration=Administration(
            database=database,
            passwords=passwords,
            on_revoked=lambda session_ids: hooks.sessions_revoked(session_ids),
            on_deleted=lambda library_id: hooks.library_deleted(library_id),
            enqueue_purge=enqueue_account_purge,
        ),
        accounts=Accounts(database=database, keyring=keyring, passwords=passwords, sessions=sessions, first_update=SEED, random=random),
        registrations=Registrations(
            database=database, keyring=keyring, passwords=passwords, sessions=sessions, first_update=SEED, random=random
        ),
        mailboxes=Mailboxes(database=database, sessions=sessions, random=random),
        credentials=Credentials(database=database, passwords=passwords, sessions=sessions, random=random),
        identities=identities,
        google=make_google(settings, states, identities),
        wechat=make_wechat(settings, database, states, identities),
        limits=limits,
        models=Models(
            settings, database=database, vault=vault, limits=limits, shared=shared, clock=clock, random=random, make_caller=make_caller
        ),
        openings=Buckets("openings", a_minute=settings.openings_a_minute, clock=time.monotonic),
        shared_reads=SharedReads(
            a_minute=settings.shared_reads_a_minute, failures=settings.shared_failures_an_address, clock=time.monotonic
        ),
        opened_shares=OpenedShares(database),
        idempotency=Idempotency(database=database, keyring=keyring, clock=clock, random=random),
        vault=vault,
        trusted_proxies=trusted_networks(settings.trusted_proxies),
        hooks=hooks,
        clock=clock,
        random=random,
    )
