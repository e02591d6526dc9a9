"""Prompt Optimizer's favorites: prompts with the versions of their assets, in their categories, with the history they came from."""

from copy import deepcopy
from typing import Any

import pytest

from crdt.library import Mode
from tests.server.transfer.app_files import IDS, NOW, prompts_of, reading_of, texts, told
from tests.support.samples import AT, app_file, backup, favorite, favorites_file, record, with_asset

KEY = "fav:fav_1"


def read_one(raw: dict[str, Any]) -> Any:
    return prompts_of(reading_of(favorites_file(raw)))[KEY]


def test_a_favorite_with_an_asset_becomes_a_prompt_with_its_versions() -> None:
    prompt = read_one(with_asset())
    assert (prompt.id, prompt.title, prompt.description, prompt.favorite) == (IDS.of(KEY), "Weekly report", "for the team", True)
    assert (prompt.original, prompt.tags, prompt.mode, prompt.uses) == (
        "write a weekly report",
        ["Work", "报告"],
        Mode.BASIC_SYSTEM,
        {"import": 3},
    )
    assert (prompt.created_at, prompt.touched_at, prompt.category) == (AT + 100, AT + 110, IDS.of("cat:cat_child"))
    assert texts(prompt) == ["# Role: Writer", "# Role: Writer, short"]
    assert [version.kind for version in prompt.versions] == ["asset", "asset"]
    assert prompt.current == prompt.versions[1].id
    assert [version.parent for version in prompt.versions] == [IDS.of("record:c1-r1"), prompt.versions[0].id]
    assert [version.model for version in prompt.versions] == ["deepseek", "deepseek"]
    assert prompt.variables == {"team": {"type": "string", "required": True, "defaultValue": "Platform", "options": []}}
    assert prompt.media == ["img_1", "img_2"]
    example = {"id": "ex-1", "basedOnVersionId": prompt.current, "input": {"text": "notes", "parameters": {}}, "output": {"text": "Done"}}
    assert prompt.examples == {"ex-1": example}


def test_a_favorite_of_before_there_were_assets_has_its_text_as_a_version() -> None:
    prompt = read_one(favorite())
    assert texts(prompt) == ["# Role: Writer, short"]
    assert (prompt.versions[0].model, prompt.versions[0].template) == ("deepseek", "general-optimize")
    assert prompt.current == prompt.versions[0].id


def test_the_same_text_is_the_same_version_with_an_asset_and_without() -> None:
    old, new = read_one(favorite()), read_one(with_asset())
    assert old.versions[0].id == new.versions[1].id


def test_a_text_that_was_edited_is_another_version_though_the_app_keeps_its_id() -> None:
    edited = with_asset()
    edited["metadata"]["promptAsset"]["versions"][1]["content"]["text"] = edited["content"] = "# Role: Poet"
    old, new = read_one(with_asset()), read_one(edited)
    assert old.versions[0].id == new.versions[0].id
    assert old.versions[1].id != new.versions[1].id


def test_two_versions_of_one_text_are_two() -> None:
    raw = with_asset()
    versions = raw["metadata"]["promptAsset"]["versions"]
    versions.append(versions[0] | {"id": "third", "version": 3})
    prompt = read_one(raw)
    assert texts(prompt) == ["# Role: Writer", "# Role: Writer, short", "# Role: Writer"]
    assert len({version.id for version in prompt.versions}) == 3
    assert [version.at for version in prompt.versions] == sorted({version.at for version in prompt.versions})


def test_an_older_version_can_be_the_one_that_is_used() -> None:
    raw = with_asset()
    raw["metadata"]["promptAsset"]["currentVersionId"] = "favorite:fav_1:current"
    raw["content"] = "# Role: Writer"
    prompt = read_one(raw)
    assert prompt.current == prompt.versions[0].id


def test_a_text_that_is_none_of_the_assets_versions_is_kept_as_one_more() -> None:
    raw = with_asset() | {"content": "edited elsewhere"}
    prompt = read_one(raw)
    assert texts(prompt) == ["# Role: Writer", "# Role: Writer, short", "edited elsewhere"]
    assert prompt.current == prompt.versions[1].id


def test_a_conversation_keeps_its_messages_and_their_text() -> None:
    raw = with_asset()
    spoken = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "{{x}}"}]
    asset = raw["metadata"]["promptAsset"]
    for version in asset["versions"]:
        version["content"] = {"kind": "messages", "messages": spoken}
    raw["content"] = "Be kind."
    reading = reading_of(favorites_file(raw))
    prompt = prompts_of(reading)[KEY]
    assert prompt.messages == spoken
    assert texts(prompt) == ["Be kind.\n\n{{x}}", "Be kind."]
    assert ("prompts", "fav_1", "messages_as_text", "versions") in told(reading.findings)


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({"functionMode": "basic", "optimizationMode": "user"}, Mode.BASIC_USER),
        ({"functionMode": "context", "optimizationMode": "system"}, Mode.PRO_MULTI),
        ({"functionMode": "context", "optimizationMode": "user"}, Mode.PRO_VARIABLE),
        ({"functionMode": "image", "imageSubMode": "image2image"}, Mode.IMAGE_IMAGE2IMAGE),
        ({"functionMode": "image", "imageSubMode": "multiimage"}, Mode.IMAGE_MULTIIMAGE),
        ({"functionMode": "image"}, Mode.IMAGE_TEXT2IMAGE),
        ({"functionMode": "unheard of", "optimizationMode": None}, Mode.BASIC_SYSTEM),
        ({"metadata": {"promptAsset": {"contract": {"modeKey": "pro-conversation"}}}}, Mode.PRO_MULTI),
    ],
)
def test_what_it_is_for(fields: dict[str, Any], mode: Mode) -> None:
    assert read_one(favorite(**fields)).mode is mode


def test_categories_are_found_by_the_files_ids_with_their_parents_and_in_the_apps_order() -> None:
    categories = reading_of(favorites_file()).library.categories
    assert [each.name for each in categories] == ["Reports", "programming", "Work"]
    assert {each.name: each.parent for each in categories} == {"Work": None, "Reports": IDS.of("cat:cat_top"), "programming": None}


def test_a_category_that_the_file_does_not_have_is_told() -> None:
    reading = reading_of(favorites_file(favorite(category="cat_gone")))
    assert prompts_of(reading)[KEY].category is None
    assert told(reading.findings) == [("prompts", "fav_1", "unknown_category", "category")]


def test_tags_that_no_prompt_has_are_in_the_registry() -> None:
    tags = reading_of(favorites_file()).library.tags
    assert [(each.tag, each.label, each.created_at) for each in tags] == [("work", "Work", NOW), ("unused", "unused", NOW)]


def test_favorites_that_are_none_are_skipped_and_the_others_kept() -> None:
    wrong = [favorite(""), favorite("b", content=7, metadata=None), favorite("x" * 201), favorite("c", metadata=7, content=None)]
    reading = reading_of(favorites_file(*wrong, favorite(), favorite()) | {"favorites": [7, *wrong, favorite(), favorite()]})
    assert list(prompts_of(reading)) == [KEY]
    assert reading.findings.skipped["prompts"] == 6
    assert [each[2] for each in told(reading.findings) if each[0] == "prompts"].count("duplicate") == 1


def test_a_favorite_and_the_chain_it_was_saved_from_are_one_prompt() -> None:
    reading = reading_of(backup())
    prompts = prompts_of(reading)
    assert set(prompts) == {KEY, "chain:c2"}
    prompt = prompts[KEY]
    assert texts(prompt) == ["# Role: Writer", "# Role: Writer, short", "# Role: Writer", "# Role: Writer, short"]
    assert [version.kind for version in prompt.versions] == ["optimize", "iterate", "asset", "asset"]
    assert prompt.source == {"app": "prompt-optimizer", "import_key": KEY, "record": IDS.of("record:c1-r1"), "chain": "chain:c1"}
    assert prompt.current == prompt.versions[3].id


def test_of_two_favorites_from_one_chain_the_older_has_it() -> None:
    younger, older = favorite("fav_b", createdAt=AT + 9), favorite("fav_a", createdAt=AT + 8)
    prompts = prompts_of(reading_of(backup(favorites=favorites_file(younger, older))))
    assert len(prompts["fav:fav_a"].versions) == 3
    assert len(prompts["fav:fav_b"].versions) == 1
    assert "chain:c1" not in prompts


def test_a_favorite_may_name_the_chain_itself() -> None:
    raw = favorite()
    raw["metadata"]["sourceHistoryId"] = "c1"
    prompts = prompts_of(reading_of(backup(app_file({"history": [record("c1", 1, "a")]}), favorites_file(raw))))
    assert list(prompts) == [KEY]


def test_whatever_stands_in_a_favorite_is_read_or_told() -> None:
    for name in ("title", "description", "tags", "category", "useCount", "createdAt", "metadata", "functionMode"):
        for value in (None, 7, "x", [], {}, [7], {"a": 7}, -1, True):
            reading = reading_of(favorites_file(favorite() | {name: value}))
            assert len(prompts_of(reading)) == 1, (name, value)
    below: tuple[Any, ...] = (
        7,
        "x",
        [],
        {"versions": 7, "contract": 7, "examples": [7]},
        {"versions": [7, {"content": 7}], "variables": [7]},
    )
    for name in ("promptAsset", "media", "reproducibility", "sourceHistoryId", "modelKey"):
        for value in below:
            raw = deepcopy(favorite())
            raw["metadata"][name] = value
            assert texts(read_one(raw)) == ["# Role: Writer, short"], (name, value)
