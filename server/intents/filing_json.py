"""Categories and tags as JSON has them. Lists are put into it where the document lies, and are sent on as they are."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from crdt.shown import Tag
from crdt.view import View
from server.intents import filing
from server.intents.filing import Filed
from server.times import moment


def categories(view: View, *, deleted: bool) -> bytes:
    """The list that `filing.categories` has."""
    return to_json({"categories": [category_json(each) for each in filing.categories(view, deleted=deleted)]})


def tags(view: View) -> bytes:
    """The list that `filing.tags` has."""
    return to_json({"tags": [tag_json(each) for each in filing.tags(view)]})


def category_json(filed: Filed) -> dict[str, Any]:
    """A category as JSON has it."""
    category = filed.category
    return {
        "id": category.id,
        "name": category.name,
        "description": category.description,
        "color": category.color,
        "parent": category.parent,
        "order": category.order,
        "prompts": filed.prompts,
        "created_at": moment(category.created_at),
        "deleted_at": None if category.deleted_at is None else moment(category.deleted_at),
    }


def tag_json(tag: Tag) -> dict[str, Any]:
    """A tag as JSON has it."""
    return {
        "tag": tag.key,
        "label": tag.label,
        "color": tag.color,
        "prompts": tag.count,
        "created_at": moment(tag.created_at) if tag.created_at else None,
    }
