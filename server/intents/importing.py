"""A file's library (or a slice of a very large one) brought into another, in one transaction. These functions run where the document lies.

What is there stays as it is, whatever the file says of it: a prompt gets the versions, tags, examples and labels that it lacks, and nothing
that somebody has edited since is taken back. So bringing a file in twice changes nothing the second time. What was put into the bin stays
there; what was purged comes back only because the file has it.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from crdt import operations as ops
from crdt.library import Root
from crdt.order import spread
from crdt.plain import same
from crdt.shown import Context, Template
from crdt.view import View
from server.errors import ServerError
from server.intents.importing_prompts import BringingPrompts
from server.intents.tally import NotTaken, Tally
from server.intents.workbench import MOST_PREFERENCES, MOST_VARIABLES
from server.transfer.library_file import FileCategory, FileContext, FileModel, FileTag, FileTemplate
from server.transfer.problems import Reason
from server.transfer.reading import Reading

_TEMPLATE_FIELDS = ("name", "type", "language", "content", "description")
_CONTEXT_FIELDS = ("title", "mode", "messages", "variables", "tools")
_MODEL_FIELDS = ("name", "enabled", "provider", "model", "base_url", "request_style", "params", "capabilities")


class WouldImport(ServerError):
    """It was only asked what would happen: `report` says it, and nothing of it is kept."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        super().__init__(report)
        self.report = report


def bring(view: View, reading: bytes, *, now: int, dry_run: bool) -> Mapping[str, Any]:
    """Bring a file's library (a pickled Reading) in, and report what became of it.

    Raises:
        WouldImport: with the report, where it is a dry run.
    """
    bringing = Bringing(view, pickle.loads(reading), now)  # noqa: S301  # made by a process of ours
    view.library.edit(bringing.all)
    report = bringing.report()
    if dry_run:
        raise WouldImport(report)
    return report


class Bringing:
    """One file on its way into one library."""

    def __init__(self, view: View, reading: Reading, now: int) -> None:
        self._view = view
        self._library = view.library
        self._file = reading.library
        self._is_foreign = reading.is_foreign
        self._tally = Tally(reading)
        self._prompts = BringingPrompts(view, reading, self._tally, now)
        self._categories: dict[str, str] = {}  # the file's ids -> the library's
        self._named: dict[tuple[str, str | None], str] = {}  # categories that are there, by name and parent
        self._parents: set[str] = set()  # what categories name as theirs
        self._templates: dict[str, Template] = {}
        self._contexts: dict[str, Context] = {}

    def all(self) -> None:
        """Bring everything in. Within an edit."""
        file, take = self._file, self._tally.take
        self._bring_categories()
        for tag in file.tags:
            take("tags", tag.tag, self._tag, tag)
        self._prompts.all(self._categories)
        self._templates = {each.id: each for each in self._view.templates()}
        for template in file.templates:
            take("templates", template.id, self._template, template)
        self._bring_contexts()
        for model in file.models:
            take("models", model.id, self._model, model)
        for name, text in file.variables.items():
            take("variables", name, self._variable, name, text)
        for name, value in file.preferences.items():
            take("preferences", name, self._preference, "", {name: value})
        for device, values in file.device_preferences.items():
            take("device_preferences", device, self._preference, device, values)

    def report(self) -> Mapping[str, Any]:
        """What became of it."""
        return self._tally.report()

    # --- categories and tags

    def _bring_categories(self) -> None:
        there, listed = self._view.categories(), self._file.categories
        self._named = {(each.name.casefold(), each.parent): each.id for each in there if each.deleted_at is None}
        self._parents = ops.category_parents(self._library)
        places = iter(spread(max((each.order for each in there), default=None), len(listed)))
        order_of = {each.id: each.order or next(places) for each in listed}
        for category in _parents_first(listed):
            self._tally.take("categories", category.id, self._category, category, order_of[category.id])

    def _category(self, category: FileCategory, order: str) -> str:
        parent = None if category.parent is None else self._categories.get(category.parent, category.parent)
        is_there = category.id in self._library.root(Root.CATEGORIES)
        ours = self._named.get((category.name.casefold(), parent)) if self._is_foreign else None
        self._categories[category.id] = category.id if is_there or ours is None else ours
        if is_there or ours is not None:
            return "unchanged"
        try:
            self._create_category(category, order, parent)
        except ValueError:
            if parent is None:
                raise
            self._create_category(category, order, None)
            self._tally.tell("categories", category.id, Reason.CIRCULAR_PARENT, "parent")
        if category.deleted_at is not None:
            ops.delete_category(self._library, category.id, category.deleted_at)
        return "created"

    def _create_category(self, category: FileCategory, order: str, parent: str | None) -> None:
        ops.create_category(
            self._library,
            category.id,
            name=category.name,
            order=order,
            at=category.created_at,
            more={"description": category.description, "color": category.color, "parent": parent},
            is_named=category.id in self._parents,
        )
        if parent is not None:
            self._parents.add(parent)

    def _tag(self, tag: FileTag) -> str:
        if ops.normalise_tag(tag.tag) in self._library.root(Root.TAGS):
            return "unchanged"
        ops.restore_tag(self._library, tag.tag, tag.label, at=tag.created_at, color=tag.color, merged_into=tag.merged_into)
        return "created"

    # --- the rest

    def _template(self, template: FileTemplate) -> str:
        fields = {name: getattr(template, name) for name in _TEMPLATE_FIELDS}
        if template.id in self._library.root(Root.TEMPLATES):
            self._compare("templates", template.id, self._templates.get(template.id), fields)
            return "unchanged"
        ops.create_template(self._library, template.id, fields, at=template.updated_at)
        if template.deleted_at is not None:
            ops.delete_template(self._library, template.id, template.deleted_at)
        return "created"

    def _bring_contexts(self) -> None:
        self._contexts = {each.id: each for each in self._view.contexts()}
        places = spread(max((each.order for each in self._contexts.values()), default=None), len(self._file.contexts))
        for context, place in zip(self._file.contexts, places, strict=True):
            self._tally.take("contexts", context.id, self._context, context, context.order or place)

    def _context(self, context: FileContext, order: str) -> str:
        fields = {name: getattr(context, name) for name in _CONTEXT_FIELDS}
        if context.id in self._library.root(Root.CONTEXTS):
            self._compare("contexts", context.id, self._contexts.get(context.id), fields)
            return "unchanged"
        ops.create_context(self._library, context.id, fields | {"order": order}, at=context.updated_at)
        if context.deleted_at is not None:
            ops.delete_context(self._library, context.id, context.deleted_at)
        return "created"

    def _model(self, model: FileModel) -> str:
        there = self._library.root(Root.MODELS)
        fields = {name: getattr(model, name) for name in _MODEL_FIELDS}
        new = {name: value for name, value in fields.items() if f"{model.id}/{name}" not in there}
        ops.set_model_fields(self._library, model.id, new)
        if any(name not in new and not same(there[f"{model.id}/{name}"], value) for name, value in fields.items()):
            self._tally.tell("models", model.id, Reason.KEPT_OURS)
        return "created" if len(new) == len(fields) else "merged" if new else "unchanged"

    def _variable(self, name: str, value: str) -> str:
        there = self._library.root(Root.VARIABLES)
        if name in there:
            if there[name] != value:
                self._tally.tell("variables", name, Reason.KEPT_OURS)
            return "unchanged"
        if len(there) >= MOST_VARIABLES:
            raise NotTaken(Reason.TOO_MANY)
        ops.set_variable(self._library, name, value)
        return "created"

    def _preference(self, device: str, values: Mapping[str, Any]) -> str:
        """Of a device, or of all where that is empty."""
        there, prefix = self._library.root(Root.DEVICE_PREFS if device else Root.PREFS), f"{device}/" if device else ""
        new = {name: value for name, value in values.items() if prefix + name not in there}
        if any(name not in new and not same(there[prefix + name], value) for name, value in values.items()):
            self._tally.tell("device_preferences" if device else "preferences", device or next(iter(values)), Reason.KEPT_OURS)
        if not new:
            return "unchanged"
        if len(there) + len(new) > MOST_PREFERENCES:
            raise NotTaken(Reason.TOO_MANY)
        if device:
            ops.add_device_prefs(self._library, device, new)
        else:
            ops.add_preferences(self._library, new)
        return "created" if len(new) == len(values) else "merged"

    def _compare(self, section: str, item: str, there: Any, fields: Mapping[str, Any]) -> None:
        """Tell where the library's own item is another; it stays. Raises NotTaken where it is damaged."""
        if there is None:
            raise NotTaken(Reason.DAMAGED)
        if any(not same(getattr(there, name), value) for name, value in fields.items()):
            self._tally.tell(section, item, Reason.KEPT_OURS)


def _parents_first(categories: Sequence[FileCategory]) -> list[FileCategory]:
    """Each behind its parent, as far as they lead in no circle."""
    by_id, placed = {each.id: each for each in categories}, dict[str, FileCategory]()
    for category in categories:
        line: dict[str, FileCategory] = {}
        at: FileCategory | None = category
        while at is not None and at.id not in placed and at.id not in line:
            line[at.id] = at
            at = by_id.get(at.parent) if at.parent is not None else None
        placed |= {each.id: each for each in reversed(line.values())}
    return list(placed.values())
