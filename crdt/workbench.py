"""What a user works with besides prompts: templates, contexts, variables, preferences and how models are called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from crdt.library import CONTEXT_FIELDS, KEY_MODES, KEY_REF_FIELDS, MODEL_FIELDS, TEMPLATE_FIELDS, Library, Root
from crdt.pairs import Pairs, by_last
from crdt.reader import Problems, Reader
from crdt.shared import Txn, YMap, get, keys
from crdt.shown import Context, ModelConfig, Template

_Item = TypeVar("_Item")


class Workbench:
    """Read when asked for: these are few, and asked for seldom."""

    def __init__(self, library: Library, problems: Problems) -> None:
        self._roots = {root: library.root(root).integrated for root in (Root.TEMPLATES, Root.CONTEXTS, Root.VARIABLES, Root.PREFS)}
        self._problems = problems
        self._device_prefs = Pairs(Root.DEVICE_PREFS, library.root(Root.DEVICE_PREFS).integrated, problems)
        self._models = Pairs(Root.MODELS, library.root(Root.MODELS).integrated, problems, by_last)

    def settle(self, changed: dict[Root, set[str]], txn: Txn) -> None:
        """Forget what was read of these keys."""
        for root in self._roots:
            for key in changed.get(root, ()):
                self._problems.forget(f"{root}/{key}")
        self._device_prefs.settle(changed.get(Root.DEVICE_PREFS, ()), txn)
        for config_id in self._models.settle(changed.get(Root.MODELS, ()), txn):
            self._problems.forget(_whole(config_id))

    def templates(self, txn: Txn) -> list[Template]:
        """Those in the bin too, by name and id."""
        found = self._items(Root.TEMPLATES, TEMPLATE_FIELDS, _template, txn)
        return sorted(found, key=lambda template: (template.name, template.id))

    def contexts(self, txn: Txn) -> list[Context]:
        """Those in the bin too, by order and id."""
        found = self._items(Root.CONTEXTS, CONTEXT_FIELDS, _context, txn)
        return sorted(found, key=lambda context: (context.order, context.id))

    def variables(self, txn: Txn) -> dict[str, str]:
        there = self._roots[Root.VARIABLES]
        read = self._reader(Root.VARIABLES, keys(there, txn), txn)
        found = {name: read.text_or_none(name) for name in keys(there, txn)}
        return {name: found[name] or "" for name in sorted(found) if found[name] is not None}

    def preferences(self, txn: Txn) -> dict[str, Any]:
        names = sorted(keys(self._roots[Root.PREFS], txn))
        read = self._reader(Root.PREFS, names, txn)
        return {name: read.plain(name) for name in names}

    def device_prefs(self, device: str, txn: Txn) -> dict[str, Any]:
        return dict(sorted(self._device_prefs.of(device, txn).items()))

    def all_device_prefs(self, txn: Txn) -> dict[str, dict[str, Any]]:
        return {device: self.device_prefs(device, txn) for device in sorted(self._device_prefs.owners(txn))}

    def models(self, txn: Txn) -> list[ModelConfig]:
        """By name and id; a config of which no known field is there is none."""
        found = (self.model(config_id, txn) for config_id in self._models.owners(txn))
        return sorted((model for model in found if model is not None), key=lambda model: (model.name, model.id))

    def model(self, config_id: str, txn: Txn) -> ModelConfig | None:
        """One of them."""
        values = self._models.of(config_id, txn)
        if not values.keys() & set(MODEL_FIELDS):
            return None
        place = _whole(config_id)
        read = Reader(values, f"models/{config_id}", lambda what: self._problems.note(place, what), txn)
        return ModelConfig(
            id=config_id,
            name=read.text("name"),
            enabled=read.flag("enabled"),
            provider=read.text("provider"),
            model=read.text("model"),
            base_url=read.text("base_url"),
            request_style=read.text("request_style"),
            params=read.mapping("params"),
            capabilities=read.mapping("capabilities"),
            key_ref=_key_ref(read),
            created_at=read.time_or_none("created_at"),
            updated_at=read.time_or_none("updated_at"),
        )

    def _items(self, root: Root, names: Iterable[str], make: Callable[[str, Reader], _Item], txn: Txn) -> list[_Item]:
        found = []
        for key in keys(self._roots[root], txn):
            there, place = get(self._roots[root], txn, key), f"{root}/{key}"
            if isinstance(there, YMap):
                found.append(make(key, Reader.of(there, names, place, self._note(place), txn)))
            elif there is not None:
                self._problems.note(place, f"{place}: not a Map")
        return found

    def _note(self, place: str) -> Callable[[str], None]:
        return lambda what: self._problems.note(place, what)

    def _reader(self, root: Root, names: Iterable[str], txn: Txn) -> Reader:
        # each key is a place of its own: what is wrong with it goes when it is changed
        return Reader.of(self._roots[root], names, root, lambda what: self._problems.note(what.rpartition(": ")[0], what), txn)


def _whole(config_id: str) -> str:
    # A place that no key has: `models/a` is also what a client may have written at "a".
    return f"models: {config_id}"


def _template(template_id: str, read: Reader) -> Template:
    return Template(
        id=template_id,
        name=read.text("name"),
        type=read.text("type"),
        language=read.text("language"),
        content=read.plain("content"),
        description=read.text("description"),
        updated_at=read.time("updated_at"),
        deleted_at=read.time_or_none("deleted_at"),
    )


def _context(context_id: str, read: Reader) -> Context:
    return Context(
        id=context_id,
        title=read.text("title"),
        mode=read.text("mode"),
        order=read.text("order"),
        updated_at=read.time("updated_at"),
        deleted_at=read.time_or_none("deleted_at"),
        messages=read.list_or_none("messages") or [],
        variables=read.mapping("variables"),
        tools=read.list_or_none("tools") or [],
    )


def _key_ref(read: Reader) -> dict[str, Any] | None:
    found = read.mapping("key_ref")
    if not found:
        return None
    if found.get("mode") not in KEY_MODES:
        read.wrong("key_ref", "a reference to a key")
        return None
    return {name: found[name] for name in KEY_REF_FIELDS if name in found}
