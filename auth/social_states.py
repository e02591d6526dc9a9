"""The state of a sign-in that goes to another provider's page: it comes back once, to the browser that began it (RFC 9700, 4.7).

The browser keeps a secret in a cookie; the address of the provider's page carries the state. The table has the hash of each, and
nonce and code verifier are made from both (HKDF), so neither the table nor the address alone can finish the sign-in.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from auth.errors import InvalidState
from auth.sessions import Principal
from storage import social_states
from storage.identities import Provider
from storage.pool import Database
from storage.social_states import NewState

LIFETIME = timedelta(minutes=10)
"""How long one may take at the provider's page. Past it: 400, and one begins again."""
SECRET_BYTES = 32
MAX_CHARACTERS = 128
"""Of a state or a cookie that is looked for; ours have 64. Past it there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A sign-in that goes to the provider's page: `state` for the page's address, `cookie` for the browser, the rest for the provider."""

    state: str = field(repr=False)
    cookie: str = field(repr=False)
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A sign-in that came back: with these the provider's answer is checked."""

    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)


class SocialStates:
    """Begins sign-ins and takes them back."""

    def __init__(self, *, database: Database, random: Callable[[int], bytes]) -> None:
        self._database = database
        self._random = random

    async def begin(self, provider: Provider, *, now: datetime, linking: Principal | None = None) -> Begun:
        """A new sign-in, good for ten minutes; with `linking`, one that can only add an identity to that user in that session."""
        state, cookie = self._random(SECRET_BYTES).hex(), self._random(SECRET_BYTES).hex()
        row = NewState(
            state_hash=_hash(state),
            provider=provider,
            cookie_hash=_hash(cookie),
            user_id=linking.user.id if linking else None,
            session_id=linking.session_id if linking else None,
            created_at=now,
            expires_at=now + LIFETIME,
        )
        async with self._database.acquire() as connection:
            await social_states.create(connection, row)
        return Begun(
            state=state, cookie=cookie, nonce=_derived(cookie, state, b"nonce"), code_verifier=_derived(cookie, state, b"verifier")
        )

    async def take(
        self, provider: Provider, *, state: str, cookie: str | None, now: datetime, linking: Principal | None = None
    ) -> Returned:
        """The sign-in that this state and cookie began; it cannot be taken a second time.

        Raises:
            InvalidState: there is none, it was taken, its time is over, it began in another browser or at another provider, or it was to
                link and does not now, or in another session, or the other way round.
        """
        if not cookie or max(len(state), len(cookie)) > MAX_CHARACTERS:
            raise InvalidState
        async with self._database.acquire() as connection:
            taken = await social_states.take(connection, provider, state_hash=_hash(state), cookie_hash=_hash(cookie), now=now)
        if taken is None or (taken.user_id, taken.session_id) != ((linking.user.id, linking.session_id) if linking else (None, None)):
            raise InvalidState
        return Returned(nonce=_derived(cookie, state, b"nonce"), code_verifier=_derived(cookie, state, b"verifier"))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _derived(cookie: str, state: str, use: bytes) -> str:
    """43 characters of base64url: a code verifier by RFC 7636, 4.1, and as good a nonce."""
    derived = HKDF(SHA256(), 32, salt=_hash(state), info=b"promptsync social " + use + b" 1").derive(cookie.encode())
    return base64.urlsafe_b64encode(derived).rstrip(b"=").decode()
