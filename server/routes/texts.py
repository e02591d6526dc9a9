"""Kinds of text and ids that requests carry: what passes here can be stored, compared and sent back."""

import re
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError

from auth import emails, passwords
from auth.errors import InvalidEmail

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# Controls (NUL among them, which PostgreSQL refuses), lone surrogates, line and paragraph separators; and the characters that
# turn the reading direction of what is shown beside them.
_SENSELESS_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
_UNSEEN_CATEGORIES = _SENSELESS_CATEGORIES | {"Cf", "Zs"}  # zero-width characters and spaces, which strip() leaves in part
_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

MAX_TITLE = 500
"""Characters of a title: a line that a list shows. Past it: 422."""
MAX_DESCRIPTION = 10_000
"""Characters of a description: a few pages. Past it: 422."""
MAX_PROMPT_TEXT = 256 << 10
"""Characters of one text of a prompt, more than the models that it is written for take in. Past it: 422."""
MAX_TAG = 100
"""Characters of a tag, which is a key in each prompt that has it. Past it: 422."""


MAX_ID = 200
"""Characters of an id that is looked up: clients mint UUIDs of 36, but whatever they have written can be asked for. Past it: 422."""


def without_defaults(example: dict[str, Any] | None = None) -> Callable[[dict[str, Any]], None]:
    """For the schema of a patch: what is left out stays as it is, so no client may fill in a default of ours."""

    def take_out(schema: dict[str, Any]) -> None:
        for field in schema.get("properties", {}).values():
            field.pop("default", None)
        if example is not None:
            schema["examples"] = [example]

    return take_out


class Body(BaseModel):
    """A request body: fields that nobody asked for are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _one_line(text: str) -> str:
    if any(unicodedata.category(character) in _SENSELESS_CATEGORIES or character in _DIRECTION_MARKS for character in text):
        raise PydanticCustomError("text_characters", "has characters that have no place in one line of text")
    return text


def _shown(text: str) -> str:
    if all(unicodedata.category(character) in _UNSEEN_CATEGORIES for character in text):
        raise PydanticCustomError("text_characters", "has no character that is seen")
    return _one_line(text)


def _lines(text: str) -> str:
    # PostgreSQL and C strings end at NUL. All else is content, and not ours to judge; pydantic has refused lone surrogates.
    if "\0" in text:
        raise PydanticCustomError("text_characters", "has the character NUL")
    return text


def _address(text: str) -> str:
    try:
        return emails.parse(text).text
    except InvalidEmail:
        # the library's own message repeats parts of the address
        raise PydanticCustomError("email", "is not a mail address that can have an account") from None


def _password(text: str) -> str:
    if not passwords.fits(text):
        raise PydanticCustomError("password_length", "is longer than a password may be")
    return text


def _canonical(value: object) -> object:
    # UUID() also takes braces, urn: and bare hex; one spelling is enough
    if isinstance(value, UUID) or (isinstance(value, str) and _UUID.fullmatch(value)):
        return value
    raise PydanticCustomError("uuid", "is not a UUID")


Name = Annotated[str, StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=100), AfterValidator(_shown)]
"""What people call something: one line of 1 to 100 characters."""
Title = Annotated[str, StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=MAX_TITLE), AfterValidator(_shown)]
"""What a prompt is called: one line."""
Tag = Annotated[str, StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=MAX_TAG), AfterValidator(_shown)]
"""A tag as people write it: one line. `crdt.operations.normalise_tag` makes the key that it is compared by."""
Description = Annotated[str, StringConstraints(strict=True, max_length=MAX_DESCRIPTION), AfterValidator(_lines)]
"""What is said of something, in any number of lines; may be empty."""
PromptText = Annotated[str, StringConstraints(strict=True, max_length=MAX_PROMPT_TEXT), AfterValidator(_lines)]
"""A text of a prompt, character for character; may be empty."""
Email = Annotated[str, StringConstraints(strict=True, max_length=320), AfterValidator(_address)]
"""A mail address, normalised."""
Password = Annotated[str, StringConstraints(strict=True, min_length=1), AfterValidator(_password)]
"""A password byte for byte: only too long ones are refused here, the rules for new ones are `auth.passwords`."""
MailToken = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_-]{43}$")]
"""The token of a mail: 32 bytes as base64url."""
RefreshToken = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=200)]
Known = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=MAX_ID), AfterValidator(_lines)]
"""The id of something that is there already."""
Color = Annotated[str, StringConstraints(strict=True, pattern=r"^#[0-9a-fA-F]{6}$")]
"""A colour as HTML writes it: `#5b8def`."""
Id = Annotated[UUID, BeforeValidator(_canonical)]
"""A UUID in its usual spelling."""
