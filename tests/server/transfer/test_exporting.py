"""What a library is exported as: all of it in our own form, whatever users or hostile clients have written."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pycrdt import Map

from crdt import operations as ops
from crdt.library import Library, Root
from crdt.operations import NewPrompt, NewVersion
from crdt.seed import SEED
from crdt.view import View
from server.errors import DocumentTooLarge
from server.intents import exporting
from server.intents.exporting import Format, export, library_file
from server.transfer.library_file import LibraryFile
from tests.crdt.garbage import WRITES, Write, write
from tests.server.transfer.app_shapes import APP_DATA, FAVORITES, misfits
from tests.server.transfer.libraries import libraries, made_from

AT = 1_764_108_000_000
often = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def file_of(library: Library, now: int = AT) -> LibraryFile:
    return library_file(View(library), name="Prompts", now=now)


def exported(library: Library, format: Format = Format.LIBRARY, now: int = AT) -> bytes:
    return export(View(library), format=format, name="Prompts", now=now).content


def shown(view: View) -> dict[str, Any]:
    """Everything that a view shows, but where keys are."""
    prompts = {prompt_id: view.full(prompt_id) for prompt_id in sorted(view.prompt_ids())}
    return {
        "prompts": prompts,
        "filed": {prompt_id: (sorted(view.filed(prompt_id)[0]), view.filed(prompt_id)[1]) for prompt_id in prompts},
        "versions": {name: [view.version(name, each.id) for each in view.versions(name)] for name in prompts},
        "labels": {prompt_id: view.labels(prompt_id) for prompt_id in prompts},
        "categories": view.categories(),
        "tags": view.tags(),
        "templates": view.templates(),
        "contexts": view.contexts(),
        "variables": view.variables(),
        "preferences": view.preferences(),
        "of_devices": view.all_device_prefs(),
        "models": [(model.id, model.name, model.enabled, model.params, model.capabilities) for model in view.models()],
    }


@often
@given(library=libraries())
def test_nothing_of_a_library_is_missing_in_its_file(library: Library) -> None:
    file = LibraryFile.model_validate_json(exported(library))
    assert file.problems == []
    assert shown(View(made_from(file))) == shown(View(library))
    assert file_of(made_from(file)) == file


@often
@given(library=libraries())
def test_the_same_library_gives_the_same_bytes_but_for_the_time(library: Library) -> None:
    copy = Library.load(library.content())
    for format in Format:
        assert exported(copy, format) == exported(library, format)
    later = json.loads(exported(library, now=AT + 5000))
    assert later.pop("exported_at") == AT + 5000
    assert later == {name: value for name, value in json.loads(exported(library)).items() if name != "exported_at"}


@often
@given(library=libraries())
def test_what_is_packed_is_what_is_not(library: Library) -> None:
    def packed(format: Format) -> dict[str, bytes]:
        package = zipfile.ZipFile(io.BytesIO(exported(library, format)))
        assert package.testzip() is None
        return {name: package.read(name) for name in package.namelist()}

    own, backup, favorites = packed(Format.LIBRARY_ZIP), packed(Format.BACKUP_ZIP), packed(Format.FAVORITES_ZIP)
    assert own.keys() == {"library.json", "README.txt"}
    assert own["library.json"] == exported(library)
    assert json.loads(backup["app-data.json"]) == json.loads(exported(library, Format.APP))
    assert json.loads(favorites["favorites.json"]) == json.loads(exported(library, Format.FAVORITES))


@often
@given(writes=WRITES)
def test_whatever_clients_have_written_is_exported_as_far_as_it_goes(writes: list[Write]) -> None:
    library = Library.load(SEED, 5)
    version = NewVersion(id="v1", text="text", kind="optimize", at=5, device="d")
    ops.create_prompt(library, NewPrompt(id="p", title="p", created_at=1, device="d", order="a", tags=["a"], version=version))
    library.edit(write(library, writes))
    view = View(library)
    file = LibraryFile.model_validate_json(export(view, format=Format.LIBRARY, name="n", now=AT).content)
    assert set(view.problems) <= set(file.problems)
    assert {prompt.id for prompt in file.prompts} == {prompt_id for prompt_id in view.prompt_ids() if prompt_id}
    assert file_of(made_from(file)).model_dump(exclude={"problems", "name"}) == file.model_dump(exclude={"problems", "name"})
    assert list(misfits(json.loads(export(view, format=Format.APP, name="n", now=AT).content), APP_DATA)) == []
    assert list(misfits(json.loads(export(view, format=Format.FAVORITES, name="n", now=AT).content), FAVORITES)) == []
    for format in (Format.LIBRARY_ZIP, Format.BACKUP_ZIP, Format.FAVORITES_ZIP):
        assert zipfile.is_zipfile(io.BytesIO(export(view, format=format, name="n", now=AT).content))


def put(library: Library, root: Root, key: str, value: Any) -> None:
    library.edit(lambda: library.root(root).__setitem__(key, value))


@pytest.mark.parametrize(
    ("root", "key", "value", "problem"),
    [
        (Root.PROMPTS, "", Map({}), "prompts/: cannot be in a file (id)"),
        (Root.PROMPTS, "no-prompt", 7, "prompts/no-prompt: not a Map"),
        (Root.VERSIONS, "lost", {"prompt": "gone", "at": 1}, "versions/lost: its prompt is not there"),
        (Root.VERSIONS, "x" * 201, {"prompt": "p", "at": 1}, f"versions/{'x' * 201}: cannot be in a file (id)"),
        (Root.VERSIONS, "odd", {"prompt": "p", "at": 1, "params": 7}, "versions/odd/params: not a map"),
        (Root.VERSIONS, "odd", {"prompt": "p", "at": 1, "parent": ""}, "versions/odd/parent: not an id"),
        (Root.TEMPLATES, "t", Map({"content": 7}), "templates/t/content: not a text, and no list of messages"),
        (Root.DEVICE_PREFS, "nobody's", 1, "device_prefs: nobody's: not a device's preference"),
        (Root.USES, "p/desk", "often", "uses/p/desk: not a number"),
    ],
)
def test_what_is_damaged_is_told(root: Root, key: str, value: Any, problem: str) -> None:
    library = Library.load(SEED, 5)
    ops.create_prompt(library, NewPrompt(id="p", title="p", created_at=1, device="d", order="a"))
    put(library, root, key, value)
    assert problem in file_of(library).problems
    assert [prompt.id for prompt in file_of(library).prompts] == ["p"]


def test_circles_are_broken_where_they_are_when_shown() -> None:
    library = Library.load(SEED, 5)
    for tag, into in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "c")):
        put(library, Root.TAGS, tag, {"label": tag, "created_at": 1, "merged_into": into})
    assert {tag.tag: tag.merged_into for tag in file_of(library).tags} == {"a": None, "b": "c", "c": "a", "d": "c"}
    assert View(made_from(file_of(library))).tags() == View(library).tags()


def test_a_value_as_deep_as_devices_take_is_exported() -> None:
    library = Library.load(SEED, 5)
    deep: Any = 1
    for _ in range(126):
        deep = [deep]
    ops.merge_preferences(library, {"deep": deep})
    assert json.loads(exported(library))["preferences"]["deep"] == deep


def test_past_the_bound_nothing_is_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library.load(SEED, 5)
    monkeypatch.setattr(exporting, "MAX_EXPORT_BYTES", len(exported(library)))
    exported(library)
    ops.set_variable(library, "one", "more")
    with pytest.raises(DocumentTooLarge):
        exported(library)


CANARY = "canary-4711"
SECRET_PARAMS = {
    "apiKey": CANARY, "api_key": CANARY, "authorization": f"Bearer {CANARY}", "headers": {"x-auth": CANARY}, "token": CANARY,
    "extra_headers": [{"name": "X-Gateway", "value": CANARY}], "call": {"secretKey": CANARY, "list": [{"password": CANARY}]},
    "innocent": f"sk-{CANARY}-0123456789", "max_tokens": 100, "temperature": 0.5, "stop_token": "END",
}  # fmt: skip


def library_with_secrets() -> Library:
    library = Library.load(SEED, 5)
    kept = {"params": SECRET_PARAMS, "usage": {"prompt_tokens": 5, "session_token": CANARY}, "model": "m"}
    version = NewVersion(id="v", text="text", kind="optimize", at=AT, device="d", more=kept)
    source = {"app": "x", "accessToken": CANARY}
    more = {"source": source, "favorite": True}
    ops.create_prompt(library, NewPrompt(id="p", title="t", created_at=AT, device="d", order="a", version=version, more=more))
    for name, value in {
        "name": "Mine", "provider": "openai", "params": SECRET_PARAMS, "capabilities": {"client_secret": CANARY, "tools": True},
        "base_url": f"https://me:{CANARY}@gate.example/v1?key={CANARY}&region=eu", "apiKey": CANARY, "headers": {"X-Key": CANARY},
        "key_ref": {"mode": "e2e", "ct": CANARY, "iv": CANARY, "kdf": {}},
    }.items():  # fmt: skip
        put(library, Root.MODELS, f"mine/{name}", value)
    ops.merge_preferences(library, {"webdav": {"user": "me", "password": CANARY}, "theme": "dark"})
    ops.set_variable(library, "api_key", CANARY)
    ops.set_variable(library, "note", f"sk-{CANARY}-0123456789")
    tools = [{"name": "search", "headers": {"Authorization": CANARY}}]
    ops.create_context(library, "c", {"title": "c", "tools": tools, "variables": {"apiKey": CANARY, "team": "us"}}, at=AT)
    ops.set_fields(library, "p", {"variables": {"password": CANARY, "team": "us"}, "messages": [{"role": "user", "apiKey": CANARY}]})
    ops.merge_device_prefs(library, "phone", {"proxy": {"authorization": CANARY}, "zoom": 2})
    return library


@pytest.mark.parametrize("format", list(Format))
def test_no_secret_is_in_any_export(format: Format) -> None:
    content = exported(library_with_secrets(), format)
    assert CANARY.encode() not in content
    if zipfile.is_zipfile(io.BytesIO(content)):
        package = zipfile.ZipFile(io.BytesIO(content))
        assert not [name for name in package.namelist() if CANARY.encode() in package.read(name)]


def test_what_is_beside_a_secret_stays_and_it_is_told_where_it_was() -> None:
    file = file_of(library_with_secrets())
    (model,) = file.models
    kept = {"call": {"list": [{}]}, "max_tokens": 100, "temperature": 0.5, "stop_token": "END"}
    assert (model.params, model.capabilities) == (kept, {"tools": True})
    assert model.base_url == "https://gate.example/v1?region=eu"
    assert (file.prompts[0].versions[0].params, file.prompts[0].versions[0].usage) == (kept, {"prompt_tokens": 5})
    assert file.prompts[0].source == {"app": "x"}
    assert file.preferences == {"theme": "dark", "webdav": {"user": "me"}}
    assert file.device_preferences == {"phone": {"proxy": {}, "zoom": 2}}
    assert (file.variables, file.prompts[0].variables, file.prompts[0].messages) == ({}, {"team": "us"}, [{"role": "user"}])
    (context,) = (context for context in file.contexts if context.id == "c")
    assert (context.variables, context.tools) == ({"team": "us"}, [{"name": "search", "headers": {}}])
    places = {problem.partition(":")[0] for problem in file.problems}
    assert {"models/mine/params/call/list/0/password", "models/mine/base_url", "prefs/webdav/password"} <= places
    assert "key_ref" not in exported(library_with_secrets()).decode()
