"""The description of our format for others, and the model of it, say the same."""

import json
import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel, ValidationError

from server.intents.exporting import Format
from server.transfer.library_file import VERSION, LibraryFile
from tests.support.server import ROOT

PAGE = (ROOT / "docs" / "library-file.md").read_text()
EXAMPLE = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0]


def test_the_example_is_a_file_and_has_every_field() -> None:
    file = LibraryFile.model_validate_json(EXAMPLE)
    assert file.model_dump(mode="json") == json.loads(EXAMPLE)
    assert list(_empty(file)) == []


def _empty(part: BaseModel) -> Iterator[str]:
    """The lists and maps of a part in which there is nothing: the example shows no item of them."""
    shown_empty = {"tools", "capabilities", "messages"}
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, list | dict) and not value and name not in shown_empty:
            yield f"{type(part).__name__}.{name}"
        for each in value if isinstance(value, list) else ():
            if isinstance(each, BaseModel):
                yield from _empty(each)


def test_every_format_is_described() -> None:
    for format in Format:
        assert f"| `{format.value}` |" in PAGE


def test_what_is_not_known_is_ignored_and_a_higher_version_is_not_read() -> None:
    value = json.loads(EXAMPLE)
    value["prompts"][0]["smell"] = "roses"
    assert LibraryFile.model_validate(value) == LibraryFile.model_validate_json(EXAMPLE)
    with pytest.raises(ValidationError):
        LibraryFile.model_validate(value | {"version": VERSION + 1})


@pytest.mark.parametrize(
    ("time", "is_one"), [(0, True), (1.0, True), (1.5, False), (-1, False), ("1", False), (True, False), (10**18, False)]
)
def test_times_are_whole_ms(time: object, is_one: bool) -> None:
    value = json.loads(EXAMPLE) | {"exported_at": time}
    if is_one:
        assert LibraryFile.model_validate(value).exported_at == time
    else:
        with pytest.raises(ValidationError):
            LibraryFile.model_validate(value)
