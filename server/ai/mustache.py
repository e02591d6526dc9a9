"""The part of Mustache (https://mustache.github.io/mustache.5.html) that templates of Prompt Optimizer use.

Variables `{{name}}`, `{{{name}}}` and `{{&name}}`, all of them as they are: what is made is no HTML. Sections `{{#name}}…{{/name}}` and
`{{^name}}…{{/name}}`, comments, and the one function that the app has, `{{#helpers.toJson}}…{{/helpers.toJson}}`, which puts what
is inside into a JSON string. No partials (they are left out) and no other delimiters. A value is never read as a template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from server.ai.errors import InvalidTemplate

Value: TypeAlias = "str | bool | Sequence[Value] | Mapping[str, Value] | None"
MAX_DEPTH = 20
"""Sections within sections, far more than people write. Past it the template is refused."""
MAX_OUTPUT = 1 << 20
"""Characters of what is made of a template, more than models take in. Past it the template is refused."""
MAX_STEPS = 100_000
"""Tags and pieces of text that are gone through: sections over lists may be within each other. Past it the template is refused."""
TO_JSON = "helpers.toJson"

_TAG = re.compile(r"\{\{\{(?P<raw>[^{}]*)\}\}\}|\{\{(?P<sigil>[#^/!>&=]?)(?P<name>[^{}]*)\}\}")
# A section's tag or a comment alone on its line takes the line with it.
_ALONE = re.compile(r"^[ \t]*(\{\{[#^/!][^{}\n]*\}\})[ \t]*(?:\r?\n|\Z)", re.MULTILINE)


@dataclass(slots=True)
class _Section:
    name: str
    inverted: bool
    parts: list[_Part] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Name:
    name: str


_Part: TypeAlias = "str | _Name | _Section"


class Template:
    """A template that has been read: reading takes twice as long as rendering."""

    def __init__(self, text: str) -> None:
        """Raises InvalidTemplate: a section is not closed, closed by another name or nested too deep."""
        self._parts = _parsed(text)

    def render(self, context: Mapping[str, Value]) -> str:
        """The template with what the context has at its names; nothing where it has nothing.

        Raises InvalidTemplate: too much would be made of it.
        """
        run = _Run()
        run.render(self._parts, [context])
        return "".join(run.out)


def _parsed(template: str) -> Sequence[_Part]:
    top = _Section("", inverted=False)
    open_sections, at = [top], 0
    template = _ALONE.sub(r"\1", template)
    for tag in _TAG.finditer(template):
        open_sections[-1].parts.append(template[at : tag.start()])
        at = tag.end()
        sigil, name = tag["sigil"] or "", (tag["raw"] if tag["raw"] is not None else tag["name"]).strip()
        match sigil:
            case "#" | "^":
                section = _Section(name, sigil == "^")
                open_sections[-1].parts.append(section)
                open_sections.append(section)
                if len(open_sections) > MAX_DEPTH + 1:
                    raise InvalidTemplate("sections are nested too deep")
            case "/":
                if len(open_sections) == 1 or open_sections.pop().name != name:
                    raise InvalidTemplate("a section is closed that is not open")
            case "=":
                raise InvalidTemplate("other delimiters are not known here")
            case "" | "&":
                open_sections[-1].parts.append(_Name(name))
    if len(open_sections) > 1:
        raise InvalidTemplate("a section is not closed")
    top.parts.append(template[at:])
    return top.parts


class _Run:
    """One rendering, which counts what it does."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self._steps = 0
        self._length = 0

    def render(self, parts: Sequence[_Part], contexts: list[Value]) -> None:
        for part in parts:
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise InvalidTemplate("it takes too many steps")
            match part:
                case str():
                    self._put(part)
                case _Name(name):
                    self._put(_text(_found(name, contexts)))
                case _Section(name, False, inner) if name == TO_JSON:
                    self._put_json(inner, contexts)
                case _Section(name, inverted, inner):
                    for context in _turns(_found(name, contexts), inverted=inverted):
                        self.render(inner, [*contexts, context])

    def _put(self, text: str) -> None:
        self._length += len(text)
        if self._length > MAX_OUTPUT:
            raise InvalidTemplate("what it makes is too long")
        self.out.append(text)

    def _put_json(self, parts: Sequence[_Part], contexts: list[Value]) -> None:
        start = len(self.out)
        self.render(parts, contexts)
        inner = "".join(self.out[start:])
        del self.out[start:]
        self._put(json.dumps(inner, ensure_ascii=False))


def _turns(value: Value, *, inverted: bool) -> Sequence[Value]:
    """What a section is gone through with: once for each of a list, once where there is something, not at all where there is not."""
    if inverted:
        return () if value else ("",)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value
    return (value,) if value else ()


def _found(name: str, contexts: Sequence[Value]) -> Value:
    """What the innermost context has that knows the name's first part."""
    if name == ".":
        return contexts[-1]
    first, *rest = name.split(".")
    for context in reversed(contexts):
        if isinstance(context, Mapping) and first in context:
            value = context[first]
            for part in rest:
                value = value.get(part) if isinstance(value, Mapping) else None
            return value
    return None


def _text(value: Value) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or value is False else json.dumps(value, ensure_ascii=False)
