"""How much of a file is taken: bounds that the readers of all formats share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from server.transfer.library_file import FilePrompt, LibraryFile
from server.transfer.problems import SINGLE, Findings, Reason

T = TypeVar("T")

MOST = {
    "prompts": 20_000,
    "categories": 2_000,
    "tags": 10_000,
    "templates": 2_000,
    "contexts": 2_000,
    "models": 500,
    "variables": 1_000,
    "preferences": 1_000,
    "device_preferences": 1_000,
}
"""Items of a section that are taken from one file, and preferences of a device; those past it are skipped (`too_many`). A person's
library has hundreds of prompts."""
MOST_VERSIONS = 1_000
"""Versions of one prompt, the newest. Past it the older ones are left out (`too_many`)."""
MOST_ALL_VERSIONS = 100_000
"""Versions of all prompts of a file. Prompts past it are skipped (`too_many`)."""
SLICE_PROMPTS, SLICE_VERSIONS, SLICE_PARTS = 2_000, 10_000, 30_000
"""Prompts, their versions, and their tags, labels, examples and devices that are brought in at once, which takes a second and a half: so
long other libraries wait, and a call that takes ten is ended. Past it the file comes in several updates; the answer says in how many."""
MOST_PARTS = 2_000
"""Tags, labels, examples and devices of one prompt together. Past it the prompt is skipped (`too_many`)."""
MOST_ALL_PARTS = 200_000
"""The same of all prompts of a file: each slice finds all that the ones before have brought. Prompts past it are skipped (`too_many`)."""
MAX_TEXT = 1 << 20
"""Characters of a text: four times what REST takes, since devices may have written more. Past it the item is skipped (`too_large`)."""
MAX_ITEM_BYTES = 4 << 20
"""JSON of one value of a prompt, a conversation or a model (its messages, say). Past it the item is skipped (`too_large`)."""


def bounded(library: LibraryFile, findings: Findings) -> LibraryFile:
    """The library without the prompts that are past what one may have, or past what all of them may."""
    kept, versions, all_parts = [], 0, 0
    for prompt in library.prompts:
        parts = parts_of(prompt)
        has_too_many = parts > MOST_PARTS or all_parts + parts > MOST_ALL_PARTS
        if has_too_many or versions + len(prompt.versions) > MOST_ALL_VERSIONS:
            findings.skip(SINGLE, "prompts", prompt.id, Reason.TOO_MANY, None if has_too_many else "versions")
            continue
        versions += len(prompt.versions)
        all_parts += parts
        kept.append(prompt)
    return library.model_copy(update={"prompts": kept})


def parts_of(prompt: FilePrompt) -> int:
    """How many tags, labels, examples and devices it has."""
    return len(prompt.tags) + len(prompt.labels) + len(prompt.examples) + len(prompt.uses)


def taken(items: Sequence[T], file: str, section: str, findings: Findings) -> Sequence[T]:
    """The items up to the section's bound, having told of the rest."""
    rest = len(items) - MOST[section]
    if rest > 0:
        findings.skip(file, section, f"#{MOST[section]}", Reason.TOO_MANY)
        findings.skipped[section] += rest - 1
    return items[: MOST[section]]
