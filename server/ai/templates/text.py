"""What a built-in template consists of, in one language."""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias


class Text(NamedTuple):
    """A template: what it is called, and its two messages, in Mustache."""

    name: str
    description: str
    system: str
    user: str


Texts: TypeAlias = Mapping[str, Text]
"""By the templates' ids."""
