"""Out of one library and into another: what comes there is what was here."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings

from crdt.library import Library
from crdt.seed import SEED
from crdt.view import View
from server.intents.exporting import Format, export, library_file
from server.intents.importing import bring
from server.transfer.library_file import LibraryFile
from server.transfer.reading import read
from tests.server.transfer.app_shapes import APP_DATA, BACKUP_MANIFEST, FAVORITES, FAVORITES_MANIFEST, misfits
from tests.server.transfer.libraries import libraries

AT = 1_764_108_000_000
ELSEWHERE = UUID(int=7)
SAMPLES = Path(__file__).parent / "samples"
often = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def fresh() -> Library:
    return Library.load(SEED, 11)


def brought(into: Library, content: bytes) -> None:
    view = View(into)
    report = bring(view, pickle.dumps(read(content, ELSEWHERE, AT)), now=AT, dry_run=False)
    assert view.problems == [], report


def exported(library: Library, format: Format) -> bytes:
    return export(View(library), format=format, name="n", now=AT).content


def file_of(library: Library) -> LibraryFile:
    return library_file(View(library), name="n", now=AT)


def same_but_for_names(one: LibraryFile, other: LibraryFile) -> bool:
    """Whether both say the same, but for tags that prompts have and nobody had registered: those are, on their way."""
    known = {tag.tag for tag in one.tags}
    assert {tag.tag for tag in other.tags} - known <= {tag for prompt in one.prompts for tag in prompt.tags}
    return one == other.model_copy(update={"tags": [tag for tag in other.tags if tag.tag in known]})


@often
@given(library=libraries())
def test_our_own_format_brings_everything_elsewhere(library: Library) -> None:
    for format in (Format.LIBRARY, Format.LIBRARY_ZIP):
        other = fresh()
        brought(other, exported(library, format))
        assert same_but_for_names(file_of(library), file_of(other))


@often
@given(library=libraries())
def test_a_file_that_comes_back_changes_nothing(library: Library) -> None:
    file, before = file_of(library), exported(library, Format.LIBRARY)
    brought(library, before)
    assert same_but_for_names(file, file_of(library))
    content = library.content()
    brought(library, exported(library, Format.LIBRARY_ZIP))
    assert library.content() == content


def of_app(*names: str) -> Library:
    library = fresh()
    for name in names:
        brought(library, (SAMPLES / name).read_bytes())
    return library


def texts(library: Library) -> list[list[str]]:
    view = View(library)
    return sorted([view.text(version.id) for version in view.versions(prompt.id)] for prompt in view.prompts())


def test_the_shapes_are_those_of_the_apps_own_files() -> None:
    package = zipfile.ZipFile(SAMPLES / "favorites.po-favorites.zip")
    for value, shape in (
        ((SAMPLES / "app-data.json").read_bytes(), APP_DATA),
        ((SAMPLES / "favorites.json").read_bytes(), FAVORITES),
        ((SAMPLES / "manifest.json").read_bytes(), BACKUP_MANIFEST),
        (package.read("favorites.json"), FAVORITES),
        (package.read("manifest.json"), FAVORITES_MANIFEST),
    ):
        assert [each for each in misfits(json.loads(value), shape) if not each.endswith(NOT_KEPT)] == []


NOT_KEPT = ("description: is missing", "parameterDefinitions: is missing")
"""What the samples are without: the app's own texts."""


@pytest.mark.parametrize("names", [("app-data.json",), ("favorites.json",), ("app-data.json", "favorites.json")])
def test_what_came_from_the_app_goes_back_as_it_writes_it_and_comes_again(names: tuple[str, ...]) -> None:
    library = of_app(*names)
    content = exported(library, Format.BACKUP_ZIP)
    package = zipfile.ZipFile(io.BytesIO(content))
    assert list(misfits(json.loads(package.read("app-data.json")), APP_DATA)) == []
    assert list(misfits(json.loads(package.read("favorites.json")), FAVORITES)) == []
    other = fresh()
    brought(other, content)
    assert sorted({text for each in texts(other) for text in each}) == sorted({text for each in texts(library) for text in each})
    assert len(View(other).prompts()) == len(View(library).prompts())


def test_what_the_app_wrote_is_in_what_it_gets_back() -> None:
    library = of_app("app-data.json", "favorites.json")
    package = zipfile.ZipFile(io.BytesIO(exported(library, Format.BACKUP_ZIP)))
    sample, back = json.loads((SAMPLES / "app-data.json").read_bytes())["data"], json.loads(package.read("app-data.json"))["data"]

    def history(data: dict[str, list[dict[str, object]]]) -> list[tuple[object, ...]]:
        return [tuple(record.get(name) for name in RECORD) for record in data["history"]]

    assert history(back) == history(sample)
    assert {record["chainId"] for record in back["history"]} == {record["chainId"] for record in sample["history"]}
    assert [(model["id"], model["name"], model["paramOverrides"]) for model in back["models"]] == sorted(
        (model["id"], model["name"], model["paramOverrides"]) for model in sample["models"]
    )
    assert {template["id"]: template["content"] for template in back["userTemplates"]} == {
        template["id"]: template["content"] for template in sample["userTemplates"]
    }
    assert back["contexts"]["contexts"][0]["messages"] == sample["contexts"]["contexts"][0]["messages"]
    assert back["userSettings"] == {name: value for name, value in sample["userSettings"].items() if value != "[object Object]"}
    favorites, theirs = (
        json.loads(each)["favorites"] for each in (package.read("favorites.json"), (SAMPLES / "favorites.json").read_bytes())
    )
    assert [tuple(each.get(name) for name in FAVORITE) for each in favorites] == [
        tuple(each.get(name) for name in FAVORITE) for each in theirs
    ]


RECORD = ("originalPrompt", "optimizedPrompt", "type", "version", "timestamp", "modelKey", "modelName", "templateId", "iterationNote")
FAVORITE = ("id", "title", "content", "description", "tags", "useCount", "functionMode", "optimizationMode",
            "imageSubMode")  # fmt: skip
