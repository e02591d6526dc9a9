"""Our own format, item by item."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import MalformedFile, NewerFile
from server.transfer import bounds, own_file
from server.transfer.library_file import SECTIONS, LibraryFile
from server.transfer.own_file import OwnFile
from server.transfer.problems import Findings, Reason
from tests.support.samples import own_file as sample


def read(**sections: Any) -> tuple[LibraryFile, Findings]:
    findings = Findings()
    return OwnFile(sample(**sections), findings).library(), findings


def told(findings: Findings) -> list[tuple[str, str, str, str | None]]:
    return [(each.section, each.item, each.reason.value, each.where) for each in findings.problems]


def test_a_whole_file_is_read_as_it_is_but_for_its_secrets() -> None:
    library, findings = read()
    whole, here = LibraryFile.model_validate(sample()).model_dump(), library.model_dump()
    for section in ("prompts", "categories", "tags", "templates", "contexts"):
        assert here[section] == whole[section], section
    assert here["models"][0] == whole["models"][0] | {"params": {"temperature": 1}, "base_url": "https://a.example/v1"}
    assert here["variables"] == {"audience": "my team"}
    assert here["preferences"] == {"theme": "dark", "nothing": {"in": None}, "gateway": {}}
    assert here["device_preferences"] == {"d1": {"panel": 320}}
    assert findings.problems == []
    assert len(findings.left_out) == 6


def test_what_a_prompt_of_ours_says_of_keys_stays() -> None:
    prompt = sample()["prompts"][0] | {"original": "my apiKey is sk-abcdefghijklmnop", "variables": {"key": "x"}}
    library, findings = read(prompts=[prompt])
    assert (library.prompts[0].original, library.prompts[0].variables) == (prompt["original"], {"key": "x"})
    assert "prompts" not in str(findings.left_out)


@pytest.mark.parametrize("section", SECTIONS)
def test_one_wrong_item_costs_no_other(section: str) -> None:
    good = sample()[section]
    wrong: Any = [7, *good, None] if isinstance(good, list) else good | {"": 7 if section == "variables" else {}}
    library, findings = read(**{section: wrong})
    is_free = section == "preferences"  # any value under any name is one
    assert len(getattr(library, section)) >= 1
    assert findings.skipped[section] == (2 if isinstance(good, list) else 0 if is_free else 1)
    assert all(each.reason is Reason.INVALID and each.is_error for each in findings.problems)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_that_is_none_costs_no_other(section: str) -> None:
    library, findings = read(**{section: 7})
    assert told(findings) == [(section, section, "invalid", None)]
    assert all(getattr(library, other) for other in SECTIONS if other != section)


def test_a_version_that_is_none_costs_the_prompt_only_that_version() -> None:
    prompt = sample()["prompts"][0]
    versions = [{"id": "v0"}, prompt["versions"][0], prompt["versions"][0], {"id": "v2", "text": "t", "at": 1, "mood": "good"}]
    library, findings = read(prompts=[prompt | {"versions": versions}])
    assert [version.id for version in library.prompts[0].versions] == ["v1", "v2"]
    assert told(findings) == [
        ("prompts", "p1", "invalid", "versions.0"),
        ("prompts", "p1", "duplicate", "versions.2"),
        ("prompts", "p1", "unknown_field", "versions.mood"),
    ]


def test_unknown_fields_are_told_and_are_no_errors() -> None:
    findings = Findings()
    file = sample(templates=[{"id": "t", "name": "n", "colour": "red"}]) | {"folders": []}
    library = OwnFile(file, findings).library()
    assert told(findings) == [("file", "folders", "unknown_field", None), ("templates", "t", "unknown_field", "colour")]
    assert (findings.errors, len(library.templates)) == (0, 1)


def test_one_id_twice_is_told() -> None:
    prompt = sample()["prompts"][0]
    library, findings = read(prompts=[prompt, prompt | {"title": "other"}])
    assert [each.title for each in library.prompts] == ["Report"]
    assert told(findings) == [("prompts", "p1", "duplicate", None)]


@pytest.mark.parametrize("version", [None, 0, -1, "1", 1.5, True, [], {}])
def test_a_version_that_is_none_is_malformed(version: Any) -> None:
    with pytest.raises(MalformedFile):
        OwnFile(sample(version=version), Findings())


def test_a_later_version_is_refused_as_such() -> None:
    with pytest.raises(NewerFile):
        OwnFile(sample(version=2), Findings())


def test_items_past_the_bound_are_skipped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bounds.MOST, "templates", 2)
    library, findings = read(templates=[{"id": f"t{number}", "name": "n"} for number in range(5)])
    assert [each.id for each in library.templates] == ["t0", "t1"]
    assert (findings.skipped["templates"], findings.errors) == (3, 1)


def test_preferences_of_a_device_past_the_bound_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bounds.MOST, "device_preferences", 2)
    library, findings = read(device_preferences={"d1": {"a": 1, "b": 2}, "d2": {"a": 1, "b": 2, "c": 3}})
    assert library.device_preferences == {"d1": {"a": 1, "b": 2}}
    assert told(findings) == [("device_preferences", "d2", "too_many", None)]


def test_texts_and_values_past_their_bounds_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_file, "MAX_TEXT", 50)
    monkeypatch.setattr(own_file, "MAX_ITEM_BYTES", 60)
    prompt = sample()["prompts"][0]
    library, findings = read(
        prompts=[
            prompt | {"id": "a", "original": "x" * 51},
            prompt | {"id": "b", "messages": ["x" * 60]},
            prompt | {"id": "c", "versions": [prompt["versions"][0] | {"text": "x" * 51}]},
            prompt | {"id": "d", "original": "x" * 50},
        ]
    )
    assert [each.id for each in library.prompts] == ["c", "d"]
    assert told(findings)[:3] == [
        ("prompts", "a", "too_large", "original"),
        ("prompts", "b", "too_large", "messages"),
        ("prompts", "c", "too_large", "versions.0"),
    ]


def test_what_is_nested_too_deeply_is_skipped() -> None:
    deep: Any = 0
    for _ in range(80):
        deep = [deep]
    contexts = [{"id": "a", "messages": [deep]}, {"id": "b"}]
    library, findings = read(contexts=contexts, preferences={"a": deep, "b": 1}, device_preferences={"d": {"a": deep}, "e": {"b": 1}})
    assert ([each.id for each in library.contexts], library.preferences, library.device_preferences) == (["b"], {"b": 1}, {"e": {"b": 1}})
    assert [each[2] for each in told(findings)] == ["too_deep"] * 3


ITEM = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda each: (
        st.lists(each, max_size=2)
        | st.dictionaries(
            st.sampled_from(["id", "name", "title", "tag", "label", "text", "at", "versions", "created_at", "touched_at", "content"]), each
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(SECTIONS), ITEM | st.lists(ITEM, max_size=3)))
def test_whatever_stands_in_a_file_what_is_read_can_be_written_down_and_read_again(sections: dict[str, Any]) -> None:
    library, findings = read(**sections)
    assert LibraryFile.model_validate(library.model_dump()) == library
    assert findings.errors >= len(findings.skipped)


def test_what_a_version_was_called_with_is_a_configuration() -> None:
    params = {"temperature": 1, "headers": {"x-route": "canary"}, "apiKey": ["canary"], "extra": '{"token": "canary"}', "max_tokens": 5}
    prompt = sample()["prompts"][0]
    prompt["versions"][0] |= {"params": params, "usage": {"total_tokens": 7, "key": "canary"}}
    library, findings = read(prompts=[prompt])
    version = library.prompts[0].versions[0]
    assert (version.params, version.usage) == ({"temperature": 1, "extra": "{}", "max_tokens": 5}, {"total_tokens": 7})
    assert {each.place for each in findings.left_out} > {"prompts/p1/versions/0/params/apiKey", "prompts/p1/versions/0/usage/key"}


@pytest.mark.parametrize("number", [10**400, -(10**400), 1e300])
def test_a_time_past_all_numbers_costs_its_item_alone(number: float) -> None:
    good = sample()["prompts"][0]
    for name in ("created_at", "touched_at", "deleted_at"):
        library, findings = read(prompts=[good | {"id": "far", name: number}, good])
        assert [each.id for each in library.prompts] == [good["id"]]
        assert ("prompts", "far", "invalid", name) in told(findings)


def test_a_place_past_all_reason_is_none() -> None:
    good = sample()["prompts"][0]
    library, findings = read(prompts=[good | {"order": "z" * 100_000}, good | {"id": "p9", "order": "z" * 200}])
    assert [each.order for each in library.prompts] == ["", "z" * 200]
    assert findings.errors == 0


def test_a_secret_is_no_name_of_an_item() -> None:
    _, findings = read(models=[{"key": "canary-key"}])
    assert told(findings) == [("models", "#1", "invalid", "id")]
    assert "canary-key" not in str(findings)
