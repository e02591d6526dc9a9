"""`/api/models/config`: how the asking user's models are called, and the keys that are kept for that.

A configuration lies in the document of the user's own library, where devices see and change it; its key lies in the vault. A key is kept
before the document says so: what a crash leaves between the two is a key that nothing refers to, or one for another address, which is
sent nowhere.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.exceptions import RequestValidationError

from auth.errors import ModelKeyElsewhere, ModelKeyMissing
from auth.vault import By, Given, Kept
from crdt.shown import ModelConfig
from server.ai.calls import Target
from server.ai.failures import ModelFailed, Outcome
from server.ai.providers import PROVIDERS
from server.ai.shared_models import SHARED
from server.answers import MODEL_CODES
from server.errors import ModelIncomplete, UnknownReference
from server.intents import model_configs as intents
from server.outgoing.addresses import BaseUrl
from server.problems import fails
from server.routes.asking import Served
from server.routes.at import READS, WRITES, AtLibrary, AtOwn
from server.routes.body import StrictRoute
from server.routes.json_answers import Json
from server.routes.model_config_bodies import (
    CheckView,
    ConfigBody,
    ConfigList,
    ConfigView,
    RotateBody,
    config_view,
    key_ref,
    orphan_view,
)
from server.routes.texts import Known
from server.services import Services
from server.times import ms
from storage.errors import NotFound

router = APIRouter(prefix="/api/models/config", tags=["models"], route_class=StrictRoute)

ConfigId = Annotated[Known, Path(description="the id of the configuration: a name like `deepseek`, or the client's own")]
REFERENCES = 3
"""How often the document is told which key is kept, where others keep other ones meanwhile: people see it there, and nothing else does."""
_EMPTY = ModelConfig(
    id="",
    name="",
    enabled=True,
    provider="",
    model="",
    base_url="",
    request_style="",
    params={},
    capabilities={},
    key_ref=None,
    created_at=None,
    updated_at=None,
)
_DEFAULTS: dict[str, Any] = {"enabled": True, "model": "", "base_url": "", "request_style": "", "params": {}, "capabilities": {}}
"""Registers of a new configuration of which a request says nothing: clients that know no defaults read them."""
_SAVES = {
    "model_key_elsewhere": 409,
    "model_key_unreadable": 409,
    "model_refused_address": 422,
    "unknown_reference": 422,
    "too_many": 409,
    **WRITES,
}
_CALLS = {
    **MODEL_CODES,
    **READS,
}


@router.get("", responses=fails(**READS), response_model=ConfigList)
async def list_all(at: AtOwn, services: Served) -> Response:
    """The user's configurations, by name, and the keys of those that devices have taken away."""
    found = await at.read(intents.configs)
    kept = dict(await services.vault.kept(at.principal.user.id))
    shown = [_view(config, kept.pop(config.id, None), at, services) for config in found]
    return Json({"configs": shown, "orphaned_keys": [orphan_view(each) for each in kept.values()]})


@router.get("/{config_id}", responses=fails(**READS), response_model=ConfigView)
async def get(config_id: ConfigId, at: AtOwn, services: Served) -> Response:
    """One configuration. Of its key only what tells it from others."""
    config = await _required(config_id, at)
    return Json(_view(config, await _kept(config_id, at, services), at, services))


@router.put("/{config_id}", responses=fails(**_SAVES) | {201: {"model": ConfigView, "description": "It is new"}}, response_model=ConfigView)
async def put(config_id: ConfigId, body: ConfigBody, at: AtOwn, services: Served, request: Request) -> Response:
    """Make a configuration, or set some fields of one; what is left out stays as it is.

    A key and header values are for the address that the configuration has then, and for no other: whoever changes the address gives
    them again, or null.
    """
    fields, given = body.fields(), body.given()
    _check_id(config_id)
    there = await at.read(partial(intents.config, config_id=config_id))
    if there is None and "provider" not in fields:
        raise RequestValidationError([{"type": "missing", "loc": ("body", "provider"), "msg": "Field required"}])
    if there is None:
        await at.read(intents.require_room)  # before a key is kept
        fields = {"name": config_id, **_DEFAULTS, **fields}
    new = replace(there or replace(_EMPTY, id=config_id), **fields)
    _set_style(new, fields)
    kept = await _kept(config_id, at, services)
    _check_given(given, kept)
    # What was there may be nonsense that a device has written; what is changed may not be.
    changes_address = given.says_something or there is None or fields.keys() & {"provider", "base_url"}
    if changes_address:
        address = _address(new, services)
        new = replace(new, base_url=address.url if new.base_url else "")
        if given.says_something:
            by = _by(at, services, request)
            await services.vault.change(at.principal.user.id, config_id, address.origin, given, services.clock(), by=by)
        elif kept is not None and kept.origin != address.origin and (there is None or _origin(there, services) != address.origin):
            raise ModelKeyElsewhere
    if "base_url" in fields:
        fields["base_url"] = new.base_url
    await at.edit(partial(intents.change, config_id=config_id, fields=fields, now=ms(services.clock())))
    kept = await _refer(config_id, at, services)
    return Json(_view(await _required(config_id, at), kept, at, services), status=201 if there is None else 200)


@router.delete("/{config_id}", status_code=204, responses=fails(**WRITES))
async def delete(config_id: ConfigId, at: AtOwn, services: Served, request: Request) -> Response:
    """Take a configuration away, and destroy its key; also a key whose configuration is gone."""
    removed = (await at.edit(partial(intents.remove, config_id=config_id))).answer
    by = _by(at, services, request)
    if not (await services.vault.remove(at.principal.user.id, config_id, services.clock(), by=by) or removed):
        raise NotFound
    return Response(status_code=204)


@router.post("/{config_id}/validate", responses=fails(**_CALLS), response_model=CheckView)
async def validate(config_id: ConfigId, at: AtOwn, services: Served) -> Response:
    """Ask the provider, by the cheapest call there is, whether it takes the key, and keep what it says."""
    user_id = at.principal.user.id
    config = await _required(config_id, at)
    kept = await _kept(config_id, at, services)
    status, said = Outcome.OK, ""
    try:
        await _check(await services.models.targets.of(user_id, config), at, services)
    except ModelFailed as error:  # also of an address that a device has written, and that is not asked at all
        status, said = error.outcome, error.said
    if kept is not None and kept.origin == _origin(config, services):
        await services.vault.checked(user_id, config_id, status.value, services.clock(), secret_id=kept.id)
    return Json({"status": status, "said": said})


@router.post("/{config_id}/rotate", responses=fails(**(_CALLS | _SAVES)), response_model=ConfigView)
async def rotate(config_id: ConfigId, body: RotateBody, at: AtOwn, services: Served, request: Request) -> Response:
    """Keep another key in place of the one that is kept, once the provider has taken it; if it does not, the old one stays."""
    user_id, given = at.principal.user.id, body.given()
    config = await _required(config_id, at)
    kept = await _kept(config_id, at, services)
    if kept is None:
        raise ModelKeyMissing
    _check_given(given, kept)
    targets, by = services.models.targets, _by(at, services, request)
    address = targets.address_of(config)
    if kept.origin != address.origin:  # a device has changed it: a new key is no more meant for there than the old one
        raise ModelKeyElsewhere
    target = targets.made(config, address, await services.vault.merged(user_id, config_id, address.origin, given))
    await _check(target, at, services)
    await services.vault.rotate(user_id, config_id, address.origin, given, services.clock(), status=Outcome.OK.value, by=by)
    return Json(_view(config, await _refer(config_id, at, services), at, services))


# --- below


async def _required(config_id: str, at: AtLibrary) -> ModelConfig:
    found = await at.read(partial(intents.config, config_id=config_id))
    if found is None:
        raise NotFound
    return found


async def _kept(config_id: str, at: AtLibrary, services: Services) -> Kept | None:
    return (await services.vault.kept(at.principal.user.id)).get(config_id)


async def _refer(config_id: str, at: AtLibrary, services: Services) -> Kept | None:
    """Have the document say which key is kept, and say it again where that is another one by then; what is kept."""
    kept = await _kept(config_id, at, services)
    for _ in range(REFERENCES):
        told = kept
        await at.edit(partial(intents.refer, config_id=config_id, key_ref=key_ref(told)))
        kept = await _kept(config_id, at, services)
        if kept == told or (kept is not None and told is not None and kept.id == told.id):
            break
    return kept


async def _check(target: Target, at: AtLibrary, services: Services) -> None:
    """Raises ModelFailed where the provider does not take it."""
    await services.limits.validation(at.principal.user.id)
    await services.models.check(target, at.principal.user.id)


def _check_id(config_id: str) -> None:
    """Raise RequestValidationError for an id that means one of the operator's models, whether there is one or not."""
    if config_id.startswith(SHARED):
        message = f"begins with {SHARED}, as the operator's models do"
        raise RequestValidationError([{"type": "reserved_id", "loc": ("config_id",), "msg": message}])


def _address(config: ModelConfig, services: Services) -> BaseUrl:
    """Where a configuration that is to be kept is called.

    Raises:
        UnknownReference: its provider is none. RequestValidationError: it has to say where. ModelFailed: REFUSED_ADDRESS.
    """
    try:
        return services.models.targets.address_of(config)
    except ModelIncomplete as error:
        if error.what == "provider":
            raise UnknownReference("provider") from None
        message = "Field required: this provider has no address of its own"
        raise RequestValidationError([{"type": "missing", "loc": ("body", error.what), "msg": message}]) from None


def _origin(config: ModelConfig, services: Services) -> str | None:
    """The origin that a configuration is at; None where it is at none that is asked."""
    try:
        return services.models.targets.address_of(config).origin
    except (ModelIncomplete, ModelFailed):
        return None


def _set_style(new: ModelConfig, fields: dict[str, Any]) -> None:
    """Go back to the provider's own request style where another one was set. Raises UnknownReference where it is asked for."""
    provider = PROVIDERS.get(new.provider)
    if provider is None or new.request_style in ("", *provider.request_styles):
        return
    if "request_style" in fields:
        raise UnknownReference("request_style")
    if "provider" in fields:
        fields["request_style"] = ""


def _check_given(given: Given, kept: Kept | None) -> None:
    """Raise RequestValidationError for a key that is what was shown of the kept one."""
    if given.api_key is not None and kept is not None and given.api_key in (kept.hint, kept.fingerprint):
        message = "is what is shown of the kept key: leave it out to keep it"
        raise RequestValidationError([{"type": "masked_value", "loc": ("body", "api_key"), "msg": message}])


def _by(at: AtLibrary, services: Services, request: Request) -> By:
    return By(caller=services.caller_of(request), session_id=at.principal.session_id)


def _view(config: ModelConfig, kept: Kept | None, at: AtLibrary, services: Services) -> dict[str, Any]:
    provider, origin = PROVIDERS.get(config.provider), _origin(config, services)
    problem = "unknown_provider" if provider is None else "refused_address" if origin is None else None
    takes_key = provider is not None and provider.needs_key
    return config_view(config, kept, at.principal.user.id, origin=origin, problem=problem, takes_key=takes_key)
