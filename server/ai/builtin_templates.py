"""The templates that every library has without having them: written for this server, in English and Chinese.

All have one form: a system message that says who the model is, its rules, how it goes about it and what it answers; then the user's text
as evidence, in JSON, so that what stands in it is improved and not obeyed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from server.ai.calls import Message, Role
from server.ai.templates import en, zh
from server.ai.templates.text import Texts


class Language(StrEnum):
    """The languages that these templates are written in."""

    ENGLISH = "en"
    CHINESE = "zh"


class Target(StrEnum):
    """What a prompt is to be used as."""

    SYSTEM = "system"
    USER = "user"


class Mode(StrEnum):
    """Whether a prompt is improved from what was first written, or changed further by an instruction."""

    OPTIMIZE = "optimize"
    ITERATE = "iterate"


GENERAL, BASIC, PROFESSIONAL, ITERATE = "general-system", "user-basic", "user-professional", "iterate"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltinTemplate:
    """A template of ours; `type` as clients name the kinds of their own."""

    id: str
    type: str
    language: Language
    name: str
    description: str
    content: Sequence[Message]


_TYPES = {GENERAL: "optimize", BASIC: "userOptimize", PROFESSIONAL: "userOptimize", ITERATE: "iterate"}


def _made(language: Language, texts: Texts) -> list[BuiltinTemplate]:
    return [
        BuiltinTemplate(
            id=template_id,
            type=type,
            language=language,
            name=texts[template_id].name,
            description=texts[template_id].description,
            content=(Message(Role.SYSTEM, texts[template_id].system), Message(Role.USER, texts[template_id].user)),
        )
        for template_id, type in _TYPES.items()
    ]


BUILTIN = (*_made(Language.ENGLISH, en.TEXTS), *_made(Language.CHINESE, zh.TEXTS))
IDS = tuple(_TYPES)


def builtin(template_id: str, language: Language) -> BuiltinTemplate | None:
    """The template of this id in this language; None where there is none of the id."""
    return next((each for each in BUILTIN if each.id == template_id and each.language == language), None)


def default_id(mode: Mode, target: Target) -> str:
    """The template that is taken where none is named."""
    if mode is Mode.ITERATE:
        return ITERATE
    return GENERAL if target is Target.SYSTEM else BASIC
