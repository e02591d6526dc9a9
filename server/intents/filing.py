"""What REST asks of the categories and tags in a library's document. These functions run where the document lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crdt import operations
from crdt.operations import Missing
from crdt.order import between
from crdt.shown import Category, Tag
from crdt.view import View
from server.errors import AlreadyThere, UnknownReference


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """A category, and how many prompts are in it that are not in the bin; those below it are not counted."""

    category: Category
    prompts: int


def categories(view: View, *, deleted: bool = False) -> Sequence[Filed]:
    """The categories, or those in the bin, by their places."""
    counted = Counter(prompt.category for prompt in view.prompts() if prompt.deleted_at is None)
    return [
        Filed(category=category, prompts=counted[category.id])
        for category in view.categories()
        if (category.deleted_at is not None) == deleted
    ]


def category(view: View, category_id: str) -> Filed:
    """One category, in the bin or not. Raises Missing."""
    return Filed(category=_category(view, category_id), prompts=sum(each.category == category_id for each in _live(view)))


def create_category(view: View, category_id: str, fields: Mapping[str, Any], now: int, *, again: bool) -> Filed:
    """Make a category, as the last one; where it is made `again`, one of that id that is there already is it.

    Raises AlreadyThere, UnknownReference.
    """
    if any(each.id == category_id for each in view.categories()):
        if again:
            return category(view, category_id)
        raise AlreadyThere
    _check_parent(view, category_id, fields.get("parent"))
    order = between(max((each.order for each in view.categories()), default=None), None)
    more = {name: value for name, value in fields.items() if name != "name"}
    operations.create_category(view.library, category_id, name=fields["name"], order=order, at=now, more=more)
    return category(view, category_id)


def change_category(view: View, category_id: str, fields: Mapping[str, Any]) -> Filed:
    """Set fields of a category; `after` puts it behind another one, or first where that is empty. Raises Missing, UnknownReference."""
    there = _category(view, category_id)
    registers = {name: value for name, value in fields.items() if name != "after"}
    if registers.get("parent", there.parent) != there.parent:
        _check_parent(view, category_id, registers["parent"])
    if "after" in fields:
        registers["order"] = _place_after(view, there, fields["after"])
    try:
        operations.set_category_fields(view.library, category_id, registers)
    except ValueError as error:  # as it is written it would be below itself, though devices' circles are shown broken
        raise UnknownReference("parent") from error
    return category(view, category_id)


def delete_category(view: View, category_id: str, now: int) -> None:
    """Put a category into the bin; its prompts show as having none. Raises Missing."""
    if _category(view, category_id).deleted_at is None:
        operations.delete_category(view.library, category_id, now)


def restore_category(view: View, category_id: str) -> Filed:
    """Take a category out of the bin, and the prompts that name it are in it again. Raises Missing."""
    if _category(view, category_id).deleted_at is not None:
        operations.restore_category(view.library, category_id)
    return category(view, category_id)


def tags(view: View) -> Sequence[Tag]:
    """The tags that are registered or that a prompt has, those merged into others left out, by their keys."""
    return sorted((tag for tag in view.tags() if tag.merged_into is None), key=lambda tag: tag.key)


def change_tag(view: View, tag: str, now: int, *, label: str | None, fields: Collection[str], color: str | None) -> Tag:
    """Call a tag something else, on all prompts that have it or will come with it; or colour it. Raises Missing."""
    name = tag if label is None else label
    if label is not None and label != _tag(view, tag).label:
        operations.rename_tag(view.library, tag, label, at=now)
    if "color" in fields:
        operations.set_tag_color(view.library, name, color, at=now)
    return _tag(view, name)


def merge_tags(view: View, merged: Collection[str], into: str, now: int) -> Tag:
    """Show tags as another one, now and whenever they come again. Raises Missing for tags that are not there."""
    operations.merge_tags(view.library, merged, into, at=now)
    return _tag(view, into)


def delete_tag(view: View, tag: str) -> None:
    """Take a tag off all prompts and out of the registry. Raises Missing."""
    operations.delete_tag(view.library, tag)


def _live(view: View) -> list[Any]:
    return [prompt for prompt in view.prompts() if prompt.deleted_at is None]


def _category(view: View, category_id: str) -> Category:
    for each in view.categories():
        if each.id == category_id:
            return each
    raise Missing(f"no category {category_id}")


def _check_parent(view: View, category_id: str, parent: str | None) -> None:
    there = {each.id: each for each in view.categories()}
    if parent is not None and (parent not in there or there[parent].deleted_at is not None):
        raise UnknownReference("parent")
    while parent is not None:
        if parent == category_id:  # it would be below itself, maybe by way of the bin
            raise UnknownReference("parent")
        parent = there[parent].parent


def _place_after(view: View, moved: Category, other: str) -> str:
    others = [each for each in view.categories() if each.id != moved.id]
    at = next((at for at, each in enumerate(others, 1) if each.id == other), None) if other else 0
    if at is None:
        raise UnknownReference("after")
    return between(others[at - 1].order if at else None, others[at].order if at < len(others) else None)


def _tag(view: View, tag: str) -> Tag:
    key = view.tag_key(tag)
    for each in view.tags():
        if each.key == key:
            return each
    raise Missing(f"no tag {tag}")
