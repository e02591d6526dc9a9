"""An OpenID provider: what its discovery document says, its keys, and the ID tokens that it signs."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from auth import id_tokens
from auth.cached_documents import CachedDocument
from auth.errors import ProviderUnavailable, SocialRefused
from auth.id_tokens import Expected, KeySet, UnknownKey
from auth.outbound import Answer, fetch

DISCOVERY_PATH = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where the provider takes what; `says_issuer` means that it names itself when it sends a browser back (RFC 9207)."""

    authorization: str
    token: str
    keys: str
    says_issuer: bool


class OpenIdProvider:
    """One provider, by its issuer. Its documents are fetched when they are first needed. `clock` gives seconds that only grow."""

    def __init__(self, issuer: str, *, also_spelt: Collection[str] = (), clock: Callable[[], float]) -> None:
        self.issuer = issuer
        self.issuers = frozenset({issuer, *also_spelt})
        self._discovered = CachedDocument(lambda: fetch(issuer + DISCOVERY_PATH), self._read_discovery, clock=clock)
        self._keys: CachedDocument[KeySet] = CachedDocument(self._fetch_keys, id_tokens.read_keys, clock=clock)

    async def endpoints(self) -> Endpoints:
        """Where it takes what. Raises ProviderUnavailable."""
        return await self._discovered.get()

    async def verify(
        self, token: str, *, client_ids: Collection[str], nonce: str | None, max_age: timedelta | None = None, now: datetime
    ) -> Mapping[str, Any]:
        """The claims of an ID token that it has signed for one of these clients and with this nonce (None: without any).

        Raises:
            SocialRefused: it has not, or its time is over, or it is older than `max_age`.
            ProviderUnavailable: its keys cannot be had.
        """
        expected = Expected(issuers=self.issuers, client_ids=client_ids, nonce=nonce, max_age=max_age)
        try:
            return id_tokens.verify(token, await self._keys.get(), expected, now=now)
        except UnknownKey:
            pass
        try:
            return id_tokens.verify(token, await self._keys.newer(), expected, now=now)
        except UnknownKey as error:
            raise SocialRefused("unknown key") from error

    async def _fetch_keys(self) -> Answer:
        return await fetch((await self.endpoints()).keys)

    def _read_discovery(self, document: Mapping[str, object]) -> Endpoints:
        # Another issuer's document would make its keys ours (Discovery, 4.3).
        if document.get("issuer") not in self.issuers:
            raise ProviderUnavailable("another issuer")
        return Endpoints(
            authorization=self._address(document, "authorization_endpoint"),
            token=self._address(document, "token_endpoint"),
            keys=self._address(document, "jwks_uri"),
            says_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        )

    def _address(self, document: Mapping[str, object], name: str) -> str:
        """An address in the document; plain http only of an issuer that has it itself, as those of tests do."""
        address = document.get(name)
        schemes = ("https://",) if self.issuer.startswith("https://") else ("https://", "http://")
        if not isinstance(address, str) or not address.startswith(schemes):
            raise ProviderUnavailable(f"no {name}")
        return address
