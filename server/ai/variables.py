"""The `{{variables}}` of a prompt's text, and which of them a model has lost or made up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_NAME = 50
"""Characters of a variable's name, as Prompt Optimizer bounds them: what is longer is no variable."""
# no spaces or braces in it, no digit first, and nothing that begins a section, a comment or a partial
_VARIABLE = re.compile(rf"\{{\{{\s*(?![0-9#/^!>&])([^\s{{}}]{{1,{MAX_NAME}}})\s*\}}\}}")


class Changed(NamedTuple):
    """What a result has not kept: variables that are gone, and variables that nobody asked for. Each once, in their order."""

    lost: Sequence[str]
    new: Sequence[str]


def variables_of(text: str) -> Sequence[str]:
    """The names of the variables in a text, each once, in their order."""
    return tuple(dict.fromkeys(_VARIABLE.findall(text)))


def changed(before: str, after: str, *, asked: str = "") -> Changed:
    """What became of the variables of `before` in `after`; those that are `asked` for, in an instruction, are not made up."""
    old, new = variables_of(before), variables_of(after)
    known, kept = {*old, *variables_of(asked)}, set(new)  # sets: a text may have tens of thousands
    return Changed([name for name in old if name not in kept], [name for name in new if name not in known])
