"""Which model is meant by an id, and everything that it is called with: from a user's configuration, or from the operator's file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from auth.errors import ModelKeyMissing
from auth.model_secret import ModelSecret
from auth.sessions import Principal
from auth.vault import Vault
from crdt.operations import Missing
from crdt.shown import ModelConfig
from crdt.view import View
from server.ai.calls import Target
from server.ai.failures import ModelFailed, Outcome
from server.ai.providers import PROVIDERS, Provider
from server.ai.shared_models import SHARED, SharedModels
from server.config import Settings
from server.errors import ModelDisabled, ModelIncomplete
from server.outgoing.addresses import BaseUrl, checked_base_url
from server.outgoing.errors import RefusedAddress
from storage import libraries
from storage.errors import NotFound
from storage.libraries import Library
from storage.pool import Database
from storage.users import User

if TYPE_CHECKING:
    from server.editor import Editor  # which is given the services, and so this


CHECKED_ADDRESSES = 1000
"""Of which a process knows that they may be asked, at most 5 MB: to read one takes as long as the rest of a target. Where its name leads is
looked at for each connection, as ever."""


class Targets:
    """Makes them, each for one call."""

    def __init__(self, settings: Settings, database: Database, vault: Vault, shared: SharedModels) -> None:
        self._checked = lru_cache(CHECKED_ADDRESSES)(partial(checked_base_url, allowed=settings.model_hosts))  # what raises is not kept
        self._database = database
        self._vault = vault
        self._shared = shared

    async def named(
        self, principal: Principal, config_id: str, editor: Editor, params: Mapping[str, Any] | None, config: ModelConfig | None = None
    ) -> Target:
        """See `Models.target`."""
        if config_id.startswith(SHARED):
            found = self._shared.target(config_id)
            if found is None:
                raise NotFound  # and never a configuration that a device has called so
        else:
            _require_storable(config_id)
            config = config or await self._config(principal, config_id, editor)
            if not config.enabled:
                raise ModelDisabled
            found = await self.of(principal.user.id, config)
        return replace(found, params={**found.params, **params}) if params else found

    async def lister(self, principal: Principal, config_id: str, editor: Editor) -> Target:
        """A configuration of the user's own, to ask its provider which models it has. It may be switched off, and name no model yet.

        Raises as `Models.target`.
        """
        return await self.of(principal.user.id, await self._config(principal, config_id, editor), needs_model=False)

    async def of(self, user_id: UUID, config: ModelConfig, *, needs_model: bool = True) -> Target:
        """A configuration with what is kept for it. Raises as `address_of`, `made` and `Vault.open`."""
        address = self.address_of(config)
        return self.made(config, address, await self._secret(user_id, config, address), needs_model=needs_model)

    async def _config(self, principal: Principal, config_id: str, editor: Editor) -> ModelConfig:
        _require_storable(config_id)
        library = await self._own_library(principal.user)
        if library is None:
            raise NotFound
        return await editor.read(library, partial(_configuration, config_id=config_id))

    async def _own_library(self, user: User) -> Library | None:
        async with self._database.acquire() as connection:
            return await libraries.for_user(connection, user.library_id, user.id)

    def address_of(self, config: ModelConfig) -> BaseUrl:
        """Where a configuration's provider is asked: at the catalogue's address where the configuration has none.

        Raises:
            ModelIncomplete: its provider is none of the catalogue, or has no address of its own.
            ModelFailed: REFUSED_ADDRESS.
        """
        provider = PROVIDERS.get(config.provider)
        if provider is None:
            raise ModelIncomplete("provider")
        if not (url := config.base_url or provider.base_url):
            raise ModelIncomplete("base_url")
        try:
            return self._checked(url)
        except RefusedAddress as error:
            raise ModelFailed(Outcome.REFUSED_ADDRESS, error.reason) from error

    def made(self, config: ModelConfig, address: BaseUrl, secret: ModelSecret, *, needs_model: bool = True) -> Target:
        """A configuration with what it is called with.

        Raises:
            ModelIncomplete: it names no model. ModelKeyMissing: its provider takes none without a key.
        """
        provider = PROVIDERS[config.provider]
        if needs_model and not config.model:
            raise ModelIncomplete("model")
        if secret.api_key is None and provider.needs_key:
            raise ModelKeyMissing
        return Target(
            config_id=config.id,
            name=config.name or config.id,
            provider=provider.id,
            model=config.model,
            base_url=address.url,
            request_style=_style(provider, config.request_style),
            secret=secret,
            params=config.params,
        )

    async def _secret(self, user_id: UUID, config: ModelConfig, address: BaseUrl) -> ModelSecret:
        try:
            return await self._vault.open(user_id, config.id, address.origin)
        except ModelKeyMissing:
            return ModelSecret()  # some take none; `made` says whether this one does


def _style(provider: Provider, asked: str) -> str:
    """How a provider is asked: as a configuration says, if the provider takes that."""
    return asked if asked in provider.request_styles else provider.request_styles[0]


def _require_storable(config_id: str) -> None:
    """Raise NotFound for an id that no configuration of a user's has. A preference or a device may say anything."""
    if config_id.startswith(SHARED) or "\0" in config_id:  # no database takes NUL
        raise NotFound


def _configuration(view: View, config_id: str) -> ModelConfig:
    config = view.model(config_id)
    if config is None:
        raise Missing("no such model config")
    return config
