"""The operator's file of models: those that everybody here may call, on the operator's account, and what tokens cost.

It is JSON (docs/models.md has an example) and read once, at the start. What is wrong with it is told by its place in the file, and never by
what stands there: most of it is harmless, and the rest are keys.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from auth.model_secret import ModelSecret
from server.ai.calls import Target
from server.ai.prices import Price, Prices
from server.ai.providers import PROVIDERS
from server.config import Settings
from server.errors import ServerError
from server.outgoing.addresses import checked_base_url
from server.outgoing.errors import RefusedAddress
from storage.privatefile import MAX_FILE_BYTES, NotPrivate, read_private

SHARED = "shared:"
"""What the ids of these models begin with, and no other: a configuration that was deleted on another device must not turn into a call on
the operator's account."""
MOST_MODELS = 1_000
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_SECRET = re.compile(r"[\x21-\x7e]{1,4096}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{1,4096}")


class BadModelsFile(ServerError):
    """The operator's file of models cannot be used; the text says which place of it, and why."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=True)


def _decimal(value: object) -> object:
    return Decimal(value) if type(value) is int else value


_Amount = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, le=1_000_000, max_digits=18, allow_inf_nan=False)]


class _Price(_Entry):
    input: _Amount
    output: _Amount
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]

    def price(self) -> Price:
        return Price(self.input, self.output, self.currency)


class _PriceOf(_Price):
    provider: str
    model: Annotated[str, Field(min_length=1, max_length=200)]


class _Model(_Entry):
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    name: Annotated[str, Field(min_length=1, max_length=100)]
    provider: str
    model: Annotated[str, Field(min_length=1, max_length=200)]
    base_url: str = ""
    request_style: str = ""
    api_key: SecretStr | None = None
    api_key_file: str | None = None
    extra_headers: dict[str, SecretStr] = {}
    params: dict[str, Any] = {}
    price: _Price | None = None


class _File(_Entry):
    models: Annotated[list[_Model], Field(max_length=MOST_MODELS)] = []
    prices: Annotated[list[_PriceOf], Field(max_length=MOST_MODELS)] = []


class SharedModels:
    """The operator's models by their ids, without `shared:`, and prices."""

    def __init__(self, targets: Mapping[str, Target], prices: Prices) -> None:
        self._targets = targets
        self.prices = prices

    @property
    def targets(self) -> tuple[Target, ...]:
        """All of them, in the file's order. Their `config_id` is what they are asked for by."""
        return tuple(self._targets.values())

    def target(self, config_id: str) -> Target | None:
        """The model that is asked for by this id, `shared:…`; None where there is none."""
        return self._targets.get(config_id)


NONE = SharedModels({}, Prices({}, {}))
"""Where the operator has named no file."""


def load_shared_models(settings: Settings) -> SharedModels:
    """What the operator's file has, or nothing where there is no such setting.

    Raises:
        BadModelsFile: it cannot be read, others may read it in production, or something in it is wrong.
    """
    if settings.models_file is None:
        return NONE
    path = settings.models_file
    parsed = _parsed(path, _read(path, settings))
    targets: dict[str, Target] = {}
    prices: dict[str, Price] = {}
    for index, entry in enumerate(parsed.models):
        place = f"{path}: models[{index}]"
        target = _target(entry, place, settings, path.parent)
        if target.config_id in targets:
            raise BadModelsFile(f"{place}.id is there twice")
        targets[target.config_id] = target
        if entry.price is not None:
            prices[target.config_id] = entry.price.price()
    return SharedModels(targets, Prices(prices, _by_model(parsed, path)))


def _read(path: Path, settings: Settings) -> bytes:
    try:
        if settings.production:
            return read_private(path)
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except NotPrivate as error:
        raise BadModelsFile(str(error)) from None
    except OSError as error:
        raise BadModelsFile(f"{path} cannot be read: {error.strerror}") from None


def _parsed(path: Path, content: bytes) -> _File:
    try:
        value = json.loads(content, parse_float=Decimal, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):  # its own text may quote what stands there
        raise BadModelsFile(f"{path} is not JSON in UTF-8 in which every name stands once") from None
    try:
        return _File.model_validate(value)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        raise BadModelsFile("; ".join(f"{path}: {_place(each['loc'])}: {each['msg']}" for each in wrong[:5])) from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _place(where: tuple[int | str, ...]) -> str:
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in where).removeprefix(".") or "the file"


def _target(entry: _Model, place: str, settings: Settings, folder: Path) -> Target:
    provider = PROVIDERS.get(entry.provider)
    if provider is None:
        raise BadModelsFile(f"{place}.provider is none of: {', '.join(PROVIDERS)}")
    try:
        address = checked_base_url(entry.base_url or provider.base_url, allowed=settings.model_hosts)
    except RefusedAddress as error:
        raise BadModelsFile(f"{place}.base_url is no address that this server asks: {error.reason}") from None
    style = entry.request_style or provider.request_styles[0]
    if style not in provider.request_styles:
        raise BadModelsFile(f"{place}.request_style is none of: {', '.join(provider.request_styles)}")
    secret = _secret(entry, place, settings, folder)
    if provider.needs_key and secret.api_key is None:
        raise BadModelsFile(f"{place} needs api_key or api_key_file")
    return Target(
        config_id=SHARED + entry.id,
        name=entry.name,
        provider=provider.id,
        model=entry.model,
        base_url=address.url,
        request_style=style,
        secret=secret,
        params=_with_floats(entry.params),
        is_shared=True,
    )


def _secret(entry: _Model, place: str, settings: Settings, folder: Path) -> ModelSecret:
    if entry.api_key is not None and entry.api_key_file is not None:
        raise BadModelsFile(f"{place} has both api_key and api_key_file")
    key = entry.api_key.get_secret_value() if entry.api_key is not None else None
    if entry.api_key_file is not None:
        key = _read(folder / entry.api_key_file, settings).decode(errors="replace").strip()
    if key is not None and not _SECRET.fullmatch(key):
        raise BadModelsFile(f"{place}: the key is not 1 to 4096 printable ASCII characters without spaces")
    headers = {name: value.get_secret_value() for name, value in entry.extra_headers.items()}
    if not all(map(_HEADER_NAME.fullmatch, headers)) or not all(map(_HEADER_VALUE.fullmatch, headers.values())):
        raise BadModelsFile(f"{place}.extra_headers has a name or value that cannot be a header's")
    return ModelSecret(key, headers)


def _by_model(parsed: _File, path: Path) -> Mapping[tuple[str, str], Price]:
    found: dict[tuple[str, str], Price] = {}
    for index, entry in enumerate(parsed.prices):
        provider = PROVIDERS.get(entry.provider)
        if provider is None:
            raise BadModelsFile(f"{path}: prices[{index}].provider is none of: {', '.join(PROVIDERS)}")
        if (provider.id, entry.model) in found:
            raise BadModelsFile(f"{path}: prices[{index}]: this model is there twice")
        found[provider.id, entry.model] = entry.price()
    return found


def _with_floats(value: Any) -> Any:
    """The same with the decimals that prices are read as made floats again."""
    match value:
        case Decimal():
            return float(value)
        case dict():
            return {name: _with_floats(each) for name, each in value.items()}
        case list():
            return [_with_floats(each) for each in value]
    return value
