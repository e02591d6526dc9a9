"""A library as Prompt Optimizer's own export of everything but favourites: its "app data", version 1.

What is in the bin is left out, and so is whatever the app has no place for. Nothing here names a key: `apiKey` is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic_core import to_json

from server.transfer.app_facts import (
    IMAGE_CAPABILITIES,
    MODES,
    MOST_RECORDS,
    PROVIDERS,
    RECORD_TYPES,
    SETTING_CHARACTERS,
    SETTINGS,
    TEMPLATE_LANGUAGES,
    Provider,
)
from server.transfer.app_filing import CHAIN_KEY, as_uuid, chain_of, iso, origin
from server.transfer.library_file import FileContext, FileModel, FilePrompt, FileTemplate, FileVersion, LibraryFile

APP_VERSION = 1
UNKNOWN = "unknown"
"""The model of a record, which has to name one, where none is known."""


class History(NamedTuple):
    """The records that are kept, newest first; whose current versions are among them; and what there was no room for."""

    records: list[dict[str, Any]]
    prompts: frozenset[str]
    lost: list[str]


def app_json(file: LibraryFile) -> tuple[bytes, list[str]]:
    """The app data as JSON, and what is left out for the app's bounds."""
    history = history_of(file)
    return to_json(app_data(file, history), indent=2), history.lost


def app_data(file: LibraryFile, history: History) -> dict[str, Any]:
    """The app data."""
    models = [model for model in file.models if not _is_of_images(model)]
    return {
        "version": APP_VERSION,
        "data": {
            "history": history.records,
            "models": [_model(model) for model in models],
            "imageModels": [_image_model(model) for model in file.models if _is_of_images(model)],
            "userTemplates": [_template(template) for template in file.templates if template.deleted_at is None],
            "userSettings": _settings(file.preferences),
            "contexts": _contexts([context for context in file.contexts if context.deleted_at is None]),
        },
    }


class _Record(NamedTuple):
    """A version on its way into the history. They compare as they are older."""

    at: int
    prompt_id: str
    place: int
    prompt: FilePrompt
    version: FileVersion
    chain_id: str
    original: str


def history_of(file: LibraryFile) -> History:
    """The newest records. Each chain begins at 1, with the oldest record that is among them, and is linear."""
    found = sorted(
        (record for prompt in file.prompts if prompt.deleted_at is None for record in _records(prompt)), key=lambda record: record[:3]
    )
    kept = found[-MOST_RECORDS:]
    written: list[dict[str, Any]] = []
    before: dict[str, tuple[int, str | None]] = {}
    for record in kept:
        number, previous = before.get(record.chain_id, (0, None))
        made = _record(record, number + 1, previous)
        before[record.chain_id] = number + 1, made["id"]
        written.append(made)
    lost = [f"versions/{record.version.id}: not in the history, which holds {MOST_RECORDS} records" for record in found[:-MOST_RECORDS]]
    return History(written[::-1], frozenset(record.prompt_id for record in kept if record.version.id == record.prompt.current), lost)


def _records(prompt: FilePrompt) -> Iterator[_Record]:
    """The prompt's, oldest first, with times that never go back. What was optimised is the parent's, unless the version has its own."""
    chain_id = as_uuid(origin(prompt, CHAIN_KEY) or prompt.id)
    originals: dict[str, str] = {}
    at = 1
    for place, version in enumerate(chain_of(prompt)):
        at = max(at, version.at)
        originals[version.id] = version.input or originals.get(version.parent or "") or prompt.original
        yield _Record(at, prompt.id, place, prompt, version, chain_id, originals[version.id] or version.text)


def _record(record: _Record, number: int, previous: str | None) -> dict[str, Any]:
    version, mode = record.version, MODES[record.prompt.mode]
    kind = mode.first if number == 1 else mode.further
    made: dict[str, Any] = {
        "id": as_uuid(version.id),
        "chainId": record.chain_id,
        "originalPrompt": record.original,
        "optimizedPrompt": version.text,
        "type": version.kind if version.kind in RECORD_TYPES else kind,
        "version": number,
        "timestamp": record.at,
        "modelKey": version.model or UNKNOWN,
        "templateId": version.template or mode.template,
        "metadata": _metadata(record),
    }
    optional = {"previousId": previous, "modelName": version.model_name, "iterationNote": version.note}
    return made | {name: value for name, value in optional.items() if value}


def _metadata(record: _Record) -> dict[str, Any]:
    mode = MODES[record.prompt.mode]
    made: dict[str, Any] = {"functionMode": mode.family}
    if mode.optimization is not None:
        made["optimizationMode"] = mode.optimization
    if record.version.kind == "edit":
        made |= {"localEdit": True, "localEditSource": "manual"}
    return made


def _is_of_images(model: FileModel) -> bool:
    return not IMAGE_CAPABILITIES.isdisjoint(model.capabilities)


def _model(model: FileModel) -> dict[str, Any]:
    connection = {"apiKey": "", "baseURL": model.base_url or _provider(model).base_url}
    return {
        "id": model.id,
        "name": model.name or model.id,
        "enabled": model.enabled,
        "providerMeta": _provider_meta(model),
        "modelMeta": _model_meta(model, {"supportsTools": False, "supportsReasoning": False} | model.capabilities),
        "connectionConfig": connection | ({"requestStyle": model.request_style} if model.request_style else {}),
        "paramOverrides": model.params,
        "customParamOverrides": {},
    }


def _image_model(model: FileModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name or model.id,
        "providerId": model.provider,
        "modelId": model.model,
        "enabled": model.enabled,
        "connectionConfig": {"apiKey": "", "baseURL": model.base_url or _provider(model).base_url},
        "paramOverrides": model.params,
        "customParamOverrides": {},
        "provider": _provider_meta(model),
        "model": _model_meta(model, dict.fromkeys(sorted(IMAGE_CAPABILITIES), False) | model.capabilities),
    }


def _provider(model: FileModel) -> Provider:
    return PROVIDERS.get(model.provider) or Provider(model.provider or "Custom", model.base_url, needs_key=False)


def _provider_meta(model: FileModel) -> dict[str, Any]:
    provider = _provider(model)
    names = ["baseURL", *([] if provider.needs_key else ["apiKey"]), *(["requestStyle"] if model.request_style else [])]
    return {
        "id": model.provider or "openai-compatible",
        "name": provider.name,
        "description": provider.name,
        "requiresApiKey": provider.needs_key,
        "defaultBaseURL": provider.base_url,
        "supportsDynamicModels": True,
        "connectionSchema": {
            "required": ["apiKey"] if provider.needs_key else [],
            "optional": names,
            "fieldTypes": dict.fromkeys(sorted({*names, "apiKey"}), "string"),
        },
    }


def _model_meta(model: FileModel, capabilities: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": model.model,
        "name": model.model,
        "description": model.model,
        "providerId": model.provider or "openai-compatible",
        "capabilities": capabilities,
        "parameterDefinitions": [],
        "defaultParameterValues": {},
    }


def _template(template: FileTemplate) -> dict[str, Any]:
    language = template.language.partition("-")[0]
    optional = {"description": template.description, "language": language if language in TEMPLATE_LANGUAGES else None}
    return {
        "id": template.id,
        "name": template.name or template.id,
        "content": template.content,
        "metadata": {
            "version": "1.0.0",
            "lastModified": template.updated_at,
            "templateType": template.type or "optimize",
            "author": "User",
            **{name: value for name, value in optional.items() if value},
        },
        "isBuiltin": False,
    }


def _settings(preferences: Mapping[str, Any]) -> dict[str, str]:
    found = {name: preferences.get(name, preferences.get(own) if own else None) for name, own in SETTINGS.items()}
    return {
        name: value for name, value in found.items() if isinstance(value, str) and len(value) <= SETTING_CHARACTERS and value.isprintable()
    }


def _contexts(contexts: Iterable[FileContext]) -> dict[str, Any]:
    ordered = sorted(contexts, key=lambda context: (context.order, context.id))
    ids = [context.id for context in ordered]
    return {
        "type": "context-bundle",
        "version": "1.0.0",
        "currentId": "default" if "default" in ids or not ids else ids[0],
        "contexts": [_context(context) for context in ordered],
    }


def _context(context: FileContext) -> dict[str, Any]:
    at = iso(context.updated_at)
    return {
        "id": context.id,
        "title": context.title,
        "mode": context.mode if context.mode in ("system", "user") else "system",
        "version": "1.0.0",
        "createdAt": at,
        "updatedAt": at,
        "messages": [each for each in context.messages if isinstance(each, dict)],
        "variables": context.variables,
        "tools": [each for each in context.tools if isinstance(each, dict)],
        "tags": [],
        "description": "",
        "meta": {},
    }
