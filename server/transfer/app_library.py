"""A library of what a Prompt Optimizer file holds: its items as ours, with the ids by which they are known again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from crdt.tags import normalise_tag, tag_label
from server.transfer.app_parts import AppParts
from server.transfer.bounds import MAX_TEXT, MOST
from server.transfer.favorites import Favorite, favorites_of
from server.transfer.fields import MAX_ID, Fields, Ids, one_line
from server.transfer.history import Chain, chains_of, prompt_of
from server.transfer.library_file import FileCategory, FileContext, FileModel, FilePrompt, FileTag, FileTemplate, Item, LibraryFile
from server.transfer.own_file import NotAnItem, checked
from server.transfer.problems import Reason

I = TypeVar("I", bound=Item)  # noqa: E741  # an item


def library_of(parts: AppParts, ids: Ids, now: int) -> LibraryFile:
    """Everything that can be taken of the parts. `now` (ms) is the time of what has none."""
    categories = _Categories(parts.categories, ids, now)
    return LibraryFile.model_construct(
        prompts=_prompts(parts, categories, ids, now),
        categories=categories.items,
        tags=_tags(parts, now),
        templates=_kept(parts.templates, FileTemplate, lambda fields: _template(fields, now)),
        contexts=_kept(parts.contexts, FileContext, lambda fields: _context(fields, now)),
        models=_kept(parts.models, FileModel, _model) + _kept(parts.image_models, FileModel, _image_model),
        variables=_variables(parts),
        preferences=dict(list(parts.settings.items())[: MOST["preferences"]]),
        device_preferences={},
    )


def _prompts(parts: AppParts, categories: _Categories, ids: Ids, now: int) -> list[FilePrompt]:
    """The favorites, each with its chain, and a prompt of each chain that is no favorite's."""
    favorites, chains = favorites_of(parts.favorites, ids, now), chains_of(parts.history, now)
    chain_of = _chains_of(favorites, chains)
    with_favorite = {chain.id for chain in chain_of.values()}
    made = [(favorite.fields, favorite.prompt(chain_of.get(favorite.id), categories.of(favorite.fields), now)) for favorite in favorites]
    made += [(chain.records[0], prompt_of(chain, ids, now)) for chain in chains if chain.id not in with_favorite]
    return [prompt for fields, raw in made if (prompt := _item(FilePrompt, raw, fields)) is not None]


def _chains_of(favorites: Sequence[Favorite], chains: Sequence[Chain]) -> dict[str, Chain]:
    """The chain of each favorite's id; one that several were saved from is the oldest's."""
    by_record = {chain.id: chain for chain in chains} | {str(record.raw["id"]): chain for chain in chains for record in chain.records}
    found: dict[str, Chain] = {}
    taken: set[str] = set()
    for favorite in sorted(favorites, key=lambda favorite: (favorite.created_at, favorite.id)):
        chain = by_record.get(favorite.record)
        if chain is not None and chain.id not in taken:
            taken.add(chain.id)
            found[favorite.id] = chain
    return found


class _Categories:
    """The file's categories under ids of ours, sorted as the app shows them."""

    def __init__(self, listed: Sequence[Fields], ids: Ids, now: int) -> None:
        self._ids: dict[str, str] = {}
        for fields in listed:
            category_id = fields.raw.get("id")
            if not isinstance(category_id, str) or not category_id or not isinstance(fields.raw.get("name"), str):
                fields.skip(Reason.INVALID, "name" if isinstance(category_id, str) else "id")
            elif category_id in self._ids:
                fields.skip(Reason.DUPLICATE)
            else:
                self._ids[category_id] = ids.of(f"cat:{category_id}")
        known = [fields for fields in listed if fields.raw.get("id") in self._ids]
        known.sort(key=lambda fields: (fields.number("sortOrder", 0), fields.time("createdAt", now)))
        self.items = _kept(known, FileCategory, lambda fields: self._category(fields, now))

    def of(self, fields: Fields) -> str | None:
        """The category that a favorite is in."""
        named = fields.text("category")
        if named and named not in self._ids:
            fields.tell(Reason.UNKNOWN_CATEGORY, "category")
        return self._ids.get(named)

    def _category(self, fields: Fields, now: int) -> dict[str, Any]:
        parent = fields.text("parentId")
        if parent and parent not in self._ids:
            fields.tell(Reason.UNKNOWN_CATEGORY, "parentId")
        return {
            "id": self._ids[str(fields.raw["id"])],
            "name": one_line(fields.text("name")) or "-",
            "description": fields.text("description"),
            "color": fields.text("color") or None,
            "parent": self._ids.get(parent),
            "created_at": fields.time("createdAt", now),
        }


def _tags(parts: AppParts, now: int) -> list[FileTag]:
    """The registry, which has tags that no prompt has; written as a string or as a map."""
    found: dict[str, FileTag] = {}
    for source, raw in parts.tags:
        fields = Fields(raw, source, parts.findings) if isinstance(raw, dict) else None
        text = raw if isinstance(raw, str) else fields.text("tag") if fields is not None else ""
        if not text.strip() or len(text) > MAX_ID:
            parts.findings.skip(*source, Reason.INVALID)
            continue
        created = fields.time("createdAt", now) if fields is not None else now
        found.setdefault(normalise_tag(text), FileTag(tag=normalise_tag(text), label=tag_label(text), created_at=created))
    return list(found.values())


def _template(fields: Fields, now: int) -> dict[str, Any] | None:
    if fields.raw.get("isBuiltin") is True:
        fields.skip(Reason.BUILT_IN)
        return None
    metadata = fields.below("metadata")
    return {
        "id": fields.raw.get("id"),
        "name": one_line(fields.text("name")) or str(fields.raw.get("id")),
        "type": metadata.text("templateType") or "optimize",
        "language": metadata.text("language"),
        "content": fields.raw.get("content"),
        "description": metadata.text("description"),
        "updated_at": metadata.time("lastModified", now),
    }


def _context(fields: Fields, now: int) -> dict[str, Any]:
    for name in ("tags", "description", "meta"):
        if fields.raw.get(name):
            fields.tell(Reason.FIELD_LEFT_OUT, name)
    return {
        "id": fields.raw.get("id"),
        "title": fields.title(fields.text("title")),
        "mode": fields.text("mode"),
        "messages": fields.items("messages"),
        "variables": fields.mapping("variables"),
        "tools": fields.items("tools"),
        "updated_at": fields.time("updatedAt", now),
    }


def _model(fields: Fields) -> dict[str, Any]:
    """A text model, in the present or in the legacy form."""
    if "providerMeta" not in fields.raw and "modelMeta" not in fields.raw:
        return _legacy_model(fields)
    provider, meta, connection = fields.below("providerMeta"), fields.below("modelMeta"), fields.below("connectionConfig")
    return _called(fields, connection) | {
        "provider": provider.text("id") or meta.text("providerId"),
        "model": meta.text("id"),
        "capabilities": meta.mapping("capabilities"),
    }


def _legacy_model(fields: Fields) -> dict[str, Any]:
    models = [each for each in fields.items("models") if isinstance(each, str)]
    return {
        "id": fields.text("id") or fields.text("key"),
        "name": fields.text("name"),
        "enabled": fields.flag("enabled", True),
        "provider": fields.text("provider"),
        "model": fields.text("defaultModel") or (models[0] if models else ""),
        "base_url": fields.text("baseURL"),
        "params": fields.mapping("llmParams"),
    }


def _image_model(fields: Fields) -> dict[str, Any]:
    """What an image model can do tells it from the others."""
    provider, model = fields.below("provider"), fields.below("model")
    return _called(fields, fields.below("connectionConfig")) | {
        "provider": fields.text("providerId") or provider.text("id"),
        "model": fields.text("modelId") or model.text("id"),
        "capabilities": model.mapping("capabilities") or {"text2image": True},
    }


def _called(fields: Fields, connection: Fields) -> dict[str, Any]:
    for name in sorted(connection.raw.keys() - {"baseURL", "requestStyle"}):
        if connection.raw[name] not in ("", None):
            connection.tell(Reason.FIELD_LEFT_OUT, name)
    return {
        "id": fields.raw.get("id"),
        "name": fields.text("name"),
        "enabled": fields.flag("enabled", True),
        "base_url": connection.text("baseURL"),
        "request_style": connection.text("requestStyle"),
        "params": fields.mapping("paramOverrides") | fields.mapping("customParamOverrides"),
    }


def _variables(parts: AppParts) -> dict[str, str]:
    found: dict[str, str] = {}
    for source, name, value in parts.variables:
        if isinstance(value, str) and 0 < len(name) <= MAX_ID and len(value) <= MAX_TEXT:
            found[name] = value
        else:
            parts.findings.skip(*source, Reason.INVALID)
    return found


def _kept(listed: Iterable[Fields], kind: type[I], read: Any) -> list[I]:
    """The items that are of this kind, once each."""
    found: dict[str, I] = {}
    for fields in listed:
        raw = read(fields)
        item = _item(kind, raw, fields) if raw is not None else None
        if item is None:
            continue
        key = str(getattr(item, "id", ""))
        if key in found:
            fields.skip(Reason.DUPLICATE)
        else:
            found[key] = item
    return list(found.values())


def _item(kind: type[I], raw: dict[str, Any], fields: Fields) -> I | None:
    try:
        return checked(kind, raw)
    except NotAnItem as error:
        fields.skip(error.reason, error.where)
        return None
