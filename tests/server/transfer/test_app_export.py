"""A library in Prompt Optimizer's forms: what the app has to find there to read it, what is where, and what it has no place for."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from crdt import operations as ops
from crdt.library import Library, Mode, Root
from crdt.operations import NewPrompt, NewVersion
from crdt.seed import SEED
from crdt.view import View
from server.intents.exporting import Format, export
from server.transfer import app_facts
from server.transfer.favorites_export import favorites_data
from server.transfer.library_file import FilePrompt, FileVersion, LibraryFile
from tests.server.transfer.app_shapes import APP_DATA, BACKUP_MANIFEST, FAVORITES, FAVORITES_MANIFEST, UUID, misfits
from tests.server.transfer.libraries import libraries

AT = 1_764_108_000_000
CHAIN = "5321472e-0000-4000-8000-000000000001"


def exported(library: Library, format: Format) -> Any:
    """The file's JSON; of a package, that of all its files, by name."""
    content = export(View(library), format=format, name="Prompts", now=AT).content
    if format in (Format.APP, Format.FAVORITES):
        return json.loads(content)
    package = zipfile.ZipFile(io.BytesIO(content))
    return {name: json.loads(package.read(name)) for name in package.namelist()}


def left_out(library: Library, format: Format) -> int:
    return export(View(library), format=format, name="Prompts", now=AT).left_out


def history(library: Library) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = exported(library, Format.APP)["data"]["history"]
    return found


def favorites(library: Library) -> dict[str, dict[str, Any]]:
    return {favorite["title"]: favorite for favorite in exported(library, Format.FAVORITES)["favorites"]}


def version(name: str, text: str, kind: str = "optimize", at: int = AT, **more: Any) -> NewVersion:
    fixed = {part: more.pop(part) for part in ("parent", "note") if part in more}
    return NewVersion(id=name, text=text, kind=kind, at=at, device="d", more=more, **fixed)


def prompt(library: Library, name: str, *versions: NewVersion, **more: Any) -> None:
    given = {part: more.pop(part) for part in ("tags", "category", "mode", "description", "original") if part in more}
    ops.create_prompt(library, NewPrompt(id=name, title=more.pop("title", name), created_at=AT, device="d", order="a", **given, more=more))
    for each in versions:
        ops.add_version(library, name, each)


@pytest.fixture
def library() -> Library:
    return Library.load(SEED, 5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(library=libraries())
def test_every_part_is_as_the_app_writes_it(library: Library) -> None:
    backup, packed = exported(library, Format.BACKUP_ZIP), exported(library, Format.FAVORITES_ZIP)
    assert list(misfits(backup["app-data.json"], APP_DATA)) == []
    assert list(misfits(backup["favorites.json"], FAVORITES)) == []
    assert list(misfits(backup["manifest.json"], BACKUP_MANIFEST)) == []
    assert list(misfits(packed["favorites.json"], FAVORITES)) == []
    assert list(misfits(packed["manifest.json"], FAVORITES_MANIFEST)) == []
    assert packed["manifest.json"]["favoriteCount"] == len(packed["favorites.json"]["favorites"])
    _check_chains(backup["app-data.json"]["data"]["history"])
    for favorite in backup["favorites.json"]["favorites"]:
        asset = favorite["metadata"]["promptAsset"]
        assert asset["currentVersionId"] in {each["id"] for each in asset["versions"]}
        assert [each["version"] for each in asset["versions"]] == list(range(1, len(asset["versions"]) + 1))


def _check_chains(records: list[dict[str, Any]]) -> None:
    assert len(records) <= app_facts.MOST_RECORDS
    assert len({record["id"] for record in records}) == len(records)
    assert [record["timestamp"] for record in records] == sorted((record["timestamp"] for record in records), reverse=True)
    for chain in {record["chainId"] for record in records}:
        own = [record for record in reversed(records) if record["chainId"] == chain]
        assert [record["version"] for record in own] == list(range(1, len(own) + 1))
        assert [record.get("previousId") for record in own] == [None, *(record["id"] for record in own[:-1])]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(library=libraries())
def test_a_backup_has_every_prompt_that_is_not_in_the_bin_and_has_a_text(library: Library) -> None:
    view, backup = View(library), exported(library, Format.BACKUP_ZIP)
    said = {record["optimizedPrompt"] for record in backup["app-data.json"]["data"]["history"]}
    said |= {favorite["content"] for favorite in backup["favorites.json"]["favorites"]}
    for each in view.prompts():
        if each.deleted_at is None and (text := view.text(each.current)):
            assert text in said


def test_a_history_is_a_chain_that_begins_at_one(library: Library) -> None:
    edited = version("v3", "three", "edit", AT + 2, parent="v2", note="Manual edit")
    first = version("v1", "one", "userOptimize", AT, model="deepseek", model_name="DeepSeek", template="user-prompt-basic")
    second = version("v2", "two", "iterate", AT + 1, parent="v1", note="Return JSON", input="asked anew")
    prompt(library, "p", first, second, edited, mode=Mode.BASIC_USER, original="asked", source={"import_key": f"chain:{CHAIN}"})
    newest, middle, root = history(library)
    assert [each["version"] for each in (root, middle, newest)] == [1, 2, 3]
    assert (root["type"], middle["type"], newest["type"]) == ("userOptimize", "iterate", "iterate")
    assert (root["originalPrompt"], middle["originalPrompt"], newest["originalPrompt"]) == ("asked", "asked anew", "asked anew")
    assert {each["chainId"] for each in (root, middle, newest)} == {CHAIN}
    assert ("previousId" in root, middle["previousId"], newest["previousId"]) == (False, root["id"], middle["id"])
    assert (root["modelKey"], root["modelName"], root["templateId"]) == ("deepseek", "DeepSeek", "user-prompt-basic")
    assert root["metadata"] == {"functionMode": "basic", "optimizationMode": "user"}
    assert newest["metadata"] == root["metadata"] | {"localEdit": True, "localEditSource": "manual"}
    assert (newest["iterationNote"], "iterationNote" in root) == ("Manual edit", False)


def test_ids_that_are_none_become_uuids_always_the_same(library: Library) -> None:
    own = "0193e4a0-0000-7000-8000-000000000001"
    prompt(library, "p", version("v1", "one"), version(own, "two", at=AT + 1))
    newest, root = history(library)
    assert newest["id"] == own
    assert UUID.fullmatch(root["id"])
    assert UUID.fullmatch(root["chainId"])
    assert history(Library.load(library.content())) == [newest, root]


def test_past_fifty_records_the_newest_stay_and_each_chain_begins_anew(library: Library) -> None:
    for name, begin in (("a", 0), ("b", 1)):
        prompt(library, name, *(version(f"{name}{count}", f"{name}{count}", at=AT + 10 * count + begin) for count in range(40)))
    records = history(library)
    _check_chains(records)
    assert sorted(record["optimizedPrompt"] for record in records) == sorted(f"{name}{count}" for name in "ab" for count in range(15, 40))
    assert left_out(library, Format.APP) == 30


def test_what_the_history_has_no_room_for_is_a_favourite_in_a_backup(library: Library) -> None:
    prompt(library, "old", version("v", "old text"))
    prompt(library, "new", *(version(f"v{count}", "t", at=AT + 1 + count) for count in range(app_facts.MOST_RECORDS)))
    assert favorites(library) == {}
    assert [each["title"] for each in exported(library, Format.BACKUP_ZIP)["favorites.json"]["favorites"]] == ["old"]


def test_favourites_and_history_are_told_apart(library: Library) -> None:
    prompt(library, "marked", version("v1", "1"), favorite=True)
    prompt(library, "imported", version("v2", "2", "asset"), source={"import_key": "fav:fav_1795380006100_5o7pwtab4"})
    prompt(library, "both", version("v6", "6"), source={"import_key": f"chain:{CHAIN}", "also": ["fav:fav_2"]})
    prompt(library, "optimised", version("v3", "3"))
    prompt(library, "typed", version("v4", "4", "edit"))
    prompt(library, "unwritten", original="only this")
    prompt(library, "nothing")
    prompt(library, "deleted", version("v5", "5"), favorite=True)
    ops.delete_prompt(library, "deleted", AT)
    found = favorites(library)
    assert found.keys() == {"marked", "imported", "both", "typed", "unwritten"}
    assert {record["optimizedPrompt"] for record in history(library)} == {"1", "3", "6"}
    assert (found["both"]["id"], [record["chainId"] for record in history(library) if record["optimizedPrompt"] == "6"]) == (
        "fav_2",
        [CHAIN],
    )
    assert found["imported"]["id"] == "fav_1795380006100_5o7pwtab4"
    assert found["unwritten"]["content"] == "only this"
    (root,) = [record["id"] for record in history(library) if record["optimizedPrompt"] == "1"]
    assert found["marked"]["metadata"]["sourceHistoryId"] == root
    assert left_out(library, Format.FAVORITES) == 1


def test_a_favourite_has_all_versions_and_what_it_is_filed_under(library: Library) -> None:
    ops.create_category(library, "mine", name="Mine", order="z", at=AT, more={"parent": "cat-writing", "color": "#fff"})
    ops.create_category(library, "twin", name="Mine", order="zz", at=AT)
    versions = (version(f"v{place}", text, "asset", AT + place, model="m") for place, text in enumerate(("one", "two", "three"), 1))
    prompt(library, "p", *versions,
           tags=["Work", "draft"], category="mine", favorite=True, description="d", original="o", media=["img_1", "https://x.example/a.png"],
           variables={"team": {"type": "string", "required": True, "defaultValue": "Platform", "options": [], "description": "Team"},
                      "n": 3, "no name": 1})  # fmt: skip
    ops.choose_version(library, "p", "v2")
    ops.register_tag(library, "Job", at=AT)
    ops.register_tag(library, "Unused", at=AT)
    ops.merge_tags(library, ["work"], "job", at=AT)
    for device in ("a", "a", "b"):
        ops.count_use(library, "p", device)
    library.edit(lambda: library.root(Root.PROMPTS)["p"]["examples"].update({"ex-1": EXAMPLE, "ex-2": "just text"}))
    file = exported(library, Format.FAVORITES)
    (favorite,) = file["favorites"]
    metadata, asset = favorite["metadata"], favorite["metadata"]["promptAsset"]
    assert (favorite["content"], favorite["tags"], favorite["useCount"], favorite["category"]) == ("two", ["Job", "draft"], 3, "mine")
    assert [(each["id"], each["version"], each["content"]["text"]) for each in asset["versions"]] == [
        ("v1", 1, "one"), ("v2", 2, "two"), ("v3", 3, "three")]  # fmt: skip
    assert asset["currentVersionId"] == "v2"
    assert asset["versions"][0]["metadata"] == {"originalContent": "o", "modelKey": "m"}
    assert metadata["media"] == {"coverAssetId": "img_1", "assetIds": ["img_1"], "urls": ["https://x.example/a.png"]}
    assert asset["contract"]["variables"] == metadata["reproducibility"]["variables"] == [
        {"name": "n", "type": "number", "required": False, "defaultValue": "3", "options": []},
        {"name": "team", "type": "string", "required": True, "description": "Team", "defaultValue": "Platform", "options": []}]  # fmt: skip
    assert [(each["id"], each["basedOnVersionId"], each["input"], each["output"]) for each in asset["examples"]] == [
        ("ex-1", "v1", EXAMPLE["input"], EXAMPLE["output"]), ("ex-2", "v2", {"text": "just text"}, {})]  # fmt: skip
    assert metadata["reproducibility"]["examples"][0] == {"id": "ex-1", "text": "Notes", "parameters": {"team": "A"}, "outputText": "Done"}
    categories = {each["id"]: each for each in file["categories"]}
    assert (categories["mine"]["parentId"], categories["mine"]["name"], categories["twin"]["name"]) == ("cat-writing", "Mine", "Mine (2)")
    assert [each["sortOrder"] for each in file["categories"]] == list(range(len(categories)))
    assert file["tags"] == ["Job", "Unused"]
    assert exported(library, Format.BACKUP_ZIP)["manifest.json"]["missingResources"] == [
        {"kind": "image", "store": "favoriteImages", "id": "img_1"}]  # fmt: skip
    assert exported(library, Format.FAVORITES_ZIP)["manifest.json"]["missingResourceIds"] == ["img_1"]


EXAMPLE = {"basedOnVersionId": "v1", "input": {"text": "Notes", "parameters": {"team": "A"}}, "output": {"text": "Done"}}


@pytest.mark.parametrize("mode", list(Mode))
def test_each_mode_is_named_as_the_app_does(library: Library, mode: Mode) -> None:
    prompt(library, "p", version("v", "text", "edit"), mode=mode)
    (favorite,) = favorites(library).values()
    contract = favorite["metadata"]["promptAsset"]["contract"]
    assert contract["modeKey"] == {"pro-multi": "pro-conversation"}.get(mode.value, mode.value)
    assert contract["modeKey"] == f"{contract['family']}-{contract['subMode']}"
    assert ("imageSubMode" in favorite, "optimizationMode" in favorite) == (mode.startswith("image"), not mode.startswith("image"))
    assert favorite["metadata"]["promptAsset"]["versions"][0]["content"]["kind"] == ("image-prompt" if mode.startswith("image") else "text")


def test_favourites_past_the_apps_bounds_are_cut_or_left_out(library: Library) -> None:
    half = "x" * (app_facts.FAVORITE_BYTES // 3)
    prompt(library, "many versions", version("v1", half, "asset"), version("v2", half, "asset", AT + 1), title="many")
    prompt(library, "too large", version("v3", "y" * app_facts.FAVORITE_BYTES, "asset"), title="large")
    found = favorites(library)
    assert found.keys() == {"many"}
    assert [each["id"] for each in found["many"]["metadata"]["promptAsset"]["versions"]] == ["v2"]
    assert left_out(library, Format.FAVORITES) == 2


def test_all_favourites_together_keep_to_the_apps_bound(library: Library) -> None:
    size = app_facts.FAVORITE_BYTES // 3
    for number in range(60):
        prompt(library, f"p{number}", version(f"v{number}", "x" * size, "asset", AT + number))
    kept = exported(library, Format.FAVORITES)["favorites"]
    assert len(json.dumps(kept)) <= app_facts.FAVORITES_BYTES * 1.01
    assert [each["title"] for each in kept] == [f"p{number}" for number in range(59, 59 - len(kept), -1)]
    assert left_out(library, Format.FAVORITES) == 60 - len(kept)


def test_models_templates_contexts_and_settings_are_where_the_app_looks(library: Library) -> None:
    model = {"name": "Home", "enabled": True, "provider": "ollama", "model": "qwen3:8b", "params": {"temperature": 0.7},
             "base_url": "http://localhost:11434/v1", "request_style": "responses"}  # fmt: skip
    ops.set_model_fields(library, "my-ollama", model)
    ops.set_model_fields(library, "banana", {"provider": "openrouter", "model": "g/i", "capabilities": {"text2image": True}})
    messages = [{"role": "system", "content": "x"}]
    ops.create_template(library, "t", {"name": "T", "content": messages, "type": "iterate", "language": "en-US"}, at=AT)
    ops.create_context(library, "c", {"title": "C", "mode": "user", "messages": messages, "variables": {"a": "b"}}, at=AT)
    ops.merge_preferences(library, {"theme": "dark", "app:selected-iterate-template": "iterate", "global-settings/v1": {"a": 1},
                                    "app:settings:ui:preferred-language": "zh-CN", "language": "en"})  # fmt: skip
    file = exported(library, Format.APP)
    assert list(misfits(file, APP_DATA)) == []
    data = file["data"]
    (text,), (image,) = data["models"], data["imageModels"]
    assert text["connectionConfig"] == {"apiKey": "", "baseURL": "http://localhost:11434/v1", "requestStyle": "responses"}
    assert (text["providerMeta"]["id"], text["modelMeta"]["id"], text["paramOverrides"]) == ("ollama", "qwen3:8b", {"temperature": 0.7})
    assert (image["id"], image["modelId"], image["connectionConfig"]["apiKey"]) == ("banana", "g/i", "")
    assert image["model"]["capabilities"] == {"text2image": True, "image2image": False, "multiImage": False}
    (template,) = data["userTemplates"]
    assert (template["content"], template["metadata"]["templateType"], template["metadata"]["language"]) == (messages, "iterate", "en")
    assert data["userSettings"] == {"app:settings:ui:theme-id": "dark", "app:settings:ui:preferred-language": "zh-CN",
                                    "app:selected-iterate-template": "iterate"}  # fmt: skip
    assert data["contexts"]["currentId"] == "c"
    assert data["contexts"]["contexts"][0]["updatedAt"] == "2025-11-25T22:00:00.000Z"


def test_keys_are_empty_everywhere(library: Library) -> None:
    for name in ("openai", "anthropic"):
        ops.set_model_fields(library, name, {"provider": name, "key_ref": {"mode": "device"}})
    assert set(_members(exported(library, Format.APP), "apiKey")) == {"", "string"}  # the latter says what kind of field it is


def _members(value: Any, wanted: str) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from (each for name, each in value.items() if name == wanted)
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _members(each, wanted)


def test_a_prompt_of_very_many_versions_is_gone_through_once() -> None:
    versions = [FileVersion(id=f"v{number}", text="t", kind="optimize", at=number) for number in range(20_000)]
    prompt = FilePrompt(id="p", title="t", favorite=True, versions=versions, current="v19999", created_at=1, touched_at=1)
    begun = time.process_time()
    (favorite,) = favorites_data(LibraryFile(prompts=[prompt]))[0]["favorites"]
    assert time.process_time() - begun < 5  # as the square of their number it is half a minute
    assert favorite["content"] == "t"
