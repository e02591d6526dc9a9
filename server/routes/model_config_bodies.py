"""The JSON of model configurations: what requests say, and what answers tell."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from auth.vault import UNREADABLE, Given, Kept
from crdt.shown import ModelConfig
from server.ai.failures import Outcome
from server.routes.model_secrets import MASK, ApiKey, ExtraHeaders
from server.routes.texts import Body, Name, without_defaults
from server.routes.values import Values
from server.times import moment
from server.transfer.secrets import without_secrets

MAX_MODEL = 200
"""Characters of a model's name at its provider. Past it: 422."""
MAX_BASE_URL = 2048
"""Characters of an address, as many as are ever asked. Past it: 422."""
ELSEWHERE = "elsewhere"

ModelName = Annotated[str, StringConstraints(strict=True, max_length=MAX_MODEL, pattern=r"^[^\s\x00-\x1f\x7f]*$")]
Provider = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z0-9][a-z0-9-]{0,49}$")]
BaseUrlText = Annotated[str, StringConstraints(strict=True, max_length=MAX_BASE_URL, pattern=r"^[^\s\x00-\x1f\x7f]*$")]
RequestStyle = Annotated[str, StringConstraints(strict=True, pattern=r"^([a-z_]{1,50})?$")]
_REGISTERS = {
    "name": "name",
    "enabled": "enabled",
    "provider": "provider",
    "model_type": "provider",
    "model": "model",
    "base_url": "base_url",
    "request_style": "request_style",
    "parameters": "params",
    "capabilities": "capabilities",
}
"""Fields of a request, and the registers of the document that they are."""


class SecretBody(Body):
    """What a configuration is authorised by, as far as something is said of it."""

    api_key: ApiKey | None = Field(None, description="write-only; null: none is kept any more")
    extra_headers: ExtraHeaders = Field({}, description="their values are write-only; null takes one away")

    def given(self) -> Given:
        """What is said of the secret."""
        headers = {name: None if value is None else value.get_secret_value() for name, value in self.extra_headers.items()}
        key = self.api_key.get_secret_value() if self.api_key is not None else None
        return Given(has_key="api_key" in self.model_fields_set, api_key=key, headers=headers)


class ConfigBody(SecretBody):
    """The fields of a configuration that are set; what is left out stays as it is."""

    model_config = ConfigDict(
        json_schema_extra=without_defaults(
            {"name": "DeepSeek", "provider": "deepseek", "model": "deepseek-chat", "api_key": "sk-0123456789abcdef"}
        )
    )

    name: Name = "-"
    enabled: bool = Field(True, strict=True)
    provider: Provider = Field("-", description="an id of `GET /api/models`; a new configuration needs it")
    model_type: Provider = Field("-", description="another name of `provider`, by which answers have it too")
    model: ModelName = Field("", description="the model's name at its provider")
    base_url: BaseUrlText = Field("", description="empty: where the provider is by itself")
    request_style: RequestStyle = Field("", description="one that the provider has; empty: its first one")
    parameters: Values = Field({}, description="those that are to be sent, and no others")
    capabilities: Values = Field({}, description="what clients know of the model; this server makes nothing of it")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if {"provider", "model_type"} <= self.model_fields_set and self.provider != self.model_type:
            raise PydanticCustomError("model_type", "has a `model_type` that is another one than its `provider`")
        return self

    def fields(self) -> dict[str, Any]:
        """The registers that are set. Raises RequestValidationError for a field that has a secret in it: the document keeps no secrets."""
        said = self.model_dump(include=self.model_fields_set & _REGISTERS.keys())
        for name, value in said.items():
            found: list[str] = []
            without_secrets({name: value}, "", lambda place, kind, found=found: found.append(kind))  # type: ignore[misc]  # its default
            if found:
                message = "has what looks like a secret in it, which belongs into api_key or extra_headers"
                raise RequestValidationError([{"type": "secret", "loc": ("body", name), "msg": message}])
        return {_REGISTERS[name]: value for name, value in said.items()}


class RotateBody(SecretBody):
    """A key that is to take the place of the one that is kept."""

    model_config = ConfigDict(json_schema_extra=without_defaults({"api_key": "sk-fedcba9876543210"}))

    api_key: ApiKey = Field(description="write-only")


class KeyView(BaseModel):
    """What is told of a kept key, or of header values without one."""

    last4: str | None = Field(description="null: there is no key, or it is too short to show some of it")
    fingerprint: str | None = Field(description="the same for the same key, and nothing it could be found by")
    origin: str = Field(description="the one place that it is sent to")
    created_at: datetime
    last_used_at: datetime | None = Field(description="to the minute")
    checked_at: datetime | None
    status: str = Field(
        description="what the provider said when it was last asked (`ok`, `invalid_key`, …), or `unchecked`; `elsewhere`: it was given for"
        " another address than the configuration has now, and `unreadable`: it does not open, so give it again"
    )


class ConfigView(BaseModel):
    """A model configuration."""

    id: str
    user_id: UUID
    name: str
    enabled: bool
    provider: str
    model_type: str = Field(description="the same as `provider`")
    model: str
    base_url: str
    request_style: str
    parameters: dict[str, Any]
    capabilities: dict[str, Any]
    extra_headers: dict[str, str] = Field(description=f"the names of those that are kept, each with `{MASK}`")
    key: KeyView | None
    needs_key: bool = Field(description="its provider takes no calls without a key, and none is kept that may be sent there")
    problem: Literal["unknown_provider", "refused_address"] | None = Field(description="why it cannot be called as it stands")
    created_at: datetime | None = Field(description="null: whoever made it did not say")
    updated_at: datetime | None


class OrphanView(KeyView):
    """A kept key whose configuration is gone."""

    id: str = Field(description="that the configuration had: `DELETE /api/models/config/{id}` destroys the key")


class ConfigList(BaseModel):
    """A user's configurations, by name, and the keys of those that devices have taken away."""

    configs: list[ConfigView]
    orphaned_keys: list[OrphanView]


class CheckView(BaseModel):
    """What the provider said."""

    status: Outcome
    said: str = Field(description="in its own words, where they say more; without anything secret")


def key_view(kept: Kept, origin: str | None) -> dict[str, Any]:
    """What is told of a key whose configuration is at this origin now; None: at none that is asked."""
    status = kept.status if kept.status == UNREADABLE or kept.origin == origin else ELSEWHERE
    return {
        "last4": kept.hint,
        "fingerprint": kept.fingerprint,
        "origin": kept.origin,
        "created_at": kept.created_at,
        "last_used_at": kept.last_used_at,
        "checked_at": kept.checked_at,
        "status": status,
    }


def config_view(
    config: ModelConfig, kept: Kept | None, user_id: UUID, *, origin: str | None, problem: str | None, takes_key: bool
) -> dict[str, Any]:
    """A configuration, and what is kept for it."""
    key = key_view(kept, origin) if kept is not None else None
    is_usable = kept is not None and kept.has_key and key is not None and key["status"] not in (UNREADABLE, ELSEWHERE)
    return {
        "id": config.id,
        "user_id": user_id,
        "name": config.name or config.id,
        "enabled": config.enabled,
        "provider": config.provider,
        "model_type": config.provider,
        "model": config.model,
        "base_url": config.base_url,
        "request_style": config.request_style,
        "parameters": config.params,
        "capabilities": config.capabilities,
        "extra_headers": dict.fromkeys(kept.header_names if kept is not None else (), MASK),
        "key": key,
        "needs_key": takes_key and not is_usable,
        "problem": problem,
        "created_at": _moment(config.created_at),
        "updated_at": _moment(config.updated_at),
    }


def orphan_view(kept: Kept) -> dict[str, Any]:
    """What is told of a key whose configuration is gone."""
    return {"id": kept.config_id} | key_view(kept, kept.origin)


def key_ref(kept: Kept | None) -> Mapping[str, Any] | None:
    """Where the document says that the key is."""
    return None if kept is None else {"mode": "server", "secret_id": str(kept.id), "hint": kept.hint or ""}


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else moment(milliseconds)
