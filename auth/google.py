"""Signing in with Google: with an ID token that a page or a phone has got, or by way of Google's own page (docs/accounts-social.md)."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from auth import social
from auth.audit import Caller
from auth.errors import InvalidState, ProviderNotConfigured, SocialRefused
from auth.external_identities import ExternalIdentity
from auth.identities import Identities
from auth.mail import Language
from auth.openid import OpenIdProvider
from auth.sessions import Device, Grant, Principal
from auth.social import Client
from auth.social_states import SocialStates
from storage.identities import Provider

ISSUER = "https://accounts.google.com"
OTHER_SPELLING = "accounts.google.com"
"""Google's tokens name their issuer in either way; it is one."""
METHOD = "google"
OWN_MAILBOXES = "gmail.com"
PROOF_AGE = timedelta(minutes=5)
"""How old an ID token may be that shows once more who asks: it is good for an hour to sign in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """Where the browser goes, and what it keeps to come back with."""

    url: str
    cookie: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """What Google sends a browser back with, and the cookie that the browser has."""

    state: str = field(repr=False)
    code: str = field(repr=False)
    issuer: str | None
    cookie: str | None = field(repr=False)


class Google:
    """Takes Google's word for who somebody is. Without client ids it takes none; without `client` no browser is sent to Google's page."""

    def __init__(
        self, *, provider: OpenIdProvider, client_ids: tuple[str, ...], client: Client | None, states: SocialStates, identities: Identities
    ) -> None:
        self._provider = provider
        self._client_ids = frozenset(client_ids)
        self._client = client
        self._states = states
        self._identities = identities

    async def sign_in(self, id_token: str, nonce: str | None, device: Device, *, language: Language, now: datetime) -> Grant:
        """A session for whom this ID token names. Raises what `identify` does, and `Identities.sign_in`."""
        async with self._noting(device.caller, now):
            external = await self.identify(id_token, nonce, now=now)
        return await self._identities.sign_in(external, device, language=language, now=now)

    async def identify(self, id_token: str, nonce: str | None, *, now: datetime, proof: bool = False) -> ExternalIdentity:
        """Whom an ID token names that was made out to one of our clients, with this nonce; as a proof only one of the last minutes.

        Raises:
            ProviderNotConfigured: no client ids are set.
            SocialRefused: the token is not good.
            ProviderUnavailable: Google's keys cannot be had.
        """
        if not self._client_ids:
            raise ProviderNotConfigured
        claims = await self._provider.verify(
            id_token, client_ids=self._client_ids, nonce=nonce, max_age=PROOF_AGE if proof else None, now=now
        )
        return self._external(claims)

    async def begin(self, *, now: datetime, linking: Principal | None = None) -> Departure:
        """Send a browser to Google's page; with `linking`, to come back with an identity for that user.

        Raises:
            ProviderNotConfigured: there is no client id with a secret.
            ProviderUnavailable: it cannot be found out where the page is.
        """
        client = self._configured()
        endpoints = await self._provider.endpoints()
        begun = await self._states.begin(Provider.GOOGLE, now=now, linking=linking)
        return Departure(url=social.page(client, endpoints, begun), cookie=begun.cookie)

    async def finish(self, returned: Return, device: Device, *, language: Language, now: datetime) -> Grant:
        """A session for who comes back. Raises what `came_back` does, and `Identities.sign_in`."""
        async with self._noting(device.caller, now):
            external = await self.came_back(returned, now=now)
        return await self._identities.sign_in(external, device, language=language, now=now)

    async def came_back(self, returned: Return, *, now: datetime, linking: Principal | None = None) -> ExternalIdentity:
        """Whom Google names to a browser that began here, for this purpose, and comes back for the first time.

        Raises:
            ProviderNotConfigured: there is no client id with a secret.
            InvalidState: it did not begin here, or comes back again or too late, or from another server.
            SocialRefused: the code is not good, or what Google gives for it.
            ProviderUnavailable: Google does not answer.
        """
        client = self._configured()
        endpoints = await self._provider.endpoints()
        begun = await self._states.take(Provider.GOOGLE, state=returned.state, cookie=returned.cookie, now=now, linking=linking)
        # RFC 9207: another server's answer, that of a mix-up, names another issuer
        if returned.issuer not in self._provider.issuers and (returned.issuer is not None or endpoints.says_issuer):
            raise InvalidState
        token = await social.exchange(client, endpoints, code=returned.code, code_verifier=begun.code_verifier)
        claims = await self._provider.verify(token, client_ids={client.id}, nonce=begun.nonce, now=now)
        return self._external(claims)

    async def denied(self, *, state: str, cookie: str | None, caller: Caller, now: datetime) -> None:
        """Note that a browser comes back with a refusal, and that it need not come back any more.

        Raises:
            InvalidState: as `came_back`; SocialRefused otherwise.
        """
        async with self._noting(caller, now):
            await self._states.take(Provider.GOOGLE, state=state, cookie=cookie, now=now)
            raise SocialRefused("denied")

    def _configured(self) -> Client:
        if self._client is None:
            raise ProviderNotConfigured
        return self._client

    def _external(self, claims: Mapping[str, Any]) -> ExternalIdentity:
        email, name = claims.get("email"), claims.get("name")
        email = email if isinstance(email, str) else None
        verified = email is not None and claims.get("email_verified") is True  # not "true", nor 1
        return ExternalIdentity(
            provider=Provider.GOOGLE,
            keys=((self._provider.issuer, claims["sub"]),),
            email=email,
            email_verified=verified,
            authoritative=verified and _is_googles(email or "", claims.get("hd")),
            name=name if isinstance(name, str) else None,
            method=METHOD,
        )

    @asynccontextmanager
    async def _noting(self, caller: Caller, now: datetime) -> AsyncIterator[None]:
        """Note what is refused inside the block."""
        try:
            yield
        except (SocialRefused, InvalidState) as refusal:
            reason = refusal.reason if isinstance(refusal, SocialRefused) else "state"
            await self._identities.note_refusal(reason, method=METHOD, caller=caller, now=now)
            raise


def _is_googles(email: str, hosted_domain: object) -> bool:
    """Whether Google owns the mailbox: one of its own, or of a domain whose mail it serves.

    A Google account on any other mailbox was verified once, and its owner may be another by now (Google's guide "OAuth linking").
    """
    return email.rpartition("@")[2].lower() == OWN_MAILBOXES or (isinstance(hosted_domain, str) and bool(hosted_domain))
