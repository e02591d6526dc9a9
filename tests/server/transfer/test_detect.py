"""What kind of file it is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.transfer.detect import Kind, is_zip, kind_of
from tests.support.samples import backup, every_file

OF_JSON = {kind: json.loads(data) for kind, data in every_file().items() if not is_zip(data)}


@pytest.mark.parametrize("kind", OF_JSON)
def test_a_file_is_known_by_its_content(kind: str) -> None:
    assert kind_of(OF_JSON[kind]) == kind
    assert len(OF_JSON) == 6


def test_zips_are_known_by_their_beginning() -> None:
    assert is_zip(backup())
    assert not is_zip(b"{}")


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        1,
        "text",
        {"version": 1},
        {"version": 1, "data": {}},
        {"data": {"history": []}},
        {"version": 1, "data": []},
        {"models": [], "prompts": []},
        {"history": [], "internal": {"indexes": []}},
        {"contexts": []} | {"name": "other app"},
        {"favorites": []},
        {"favorites": {}, "version": "1.0"},
        {"name": "n", "content": "c"},
        {"name": "n", "content": "c", "metadata": {}},
        {"format": "other/library", "prompts": []},
        {"prompts": [], "folders": [], "settings": {}},
        {"models": {"a": 1}, "theme": "x"},
    ],
)
def test_other_apps_files_are_of_no_kind(value: Any) -> None:
    assert kind_of(value) is None


def test_each_section_alone_makes_app_data() -> None:
    sections: dict[str, Any] = {
        "history": [],
        "models": [],
        "imageModels": [],
        "userTemplates": [],
        "userSettings": {},
        "contexts": {"contexts": []},
    }
    for name, section in sections.items():
        assert kind_of({"version": 1, "data": {name: section}}) is Kind.APP_DATA
        assert kind_of({name: section}) is Kind.OLD_APP_DATA


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(st.sampled_from(["format", "version", "data", "favorites", "history", "content", "name", "metadata"]), each)
    ),
)


@given(JSON)
def test_any_json_is_of_a_kind_or_of_none(value: Any) -> None:
    assert kind_of(value) in {None, *Kind}
