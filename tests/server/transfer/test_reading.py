"""Any file: those that the app has written, those that are half there, and those that are none."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.errors import MalformedFile, NewerFile, UnknownFile, UnsupportedEncoding
from server.transfer import bounds
from server.transfer import reading as readings
from server.transfer.detect import Kind
from server.transfer.library_file import SECTIONS, LibraryFile
from server.transfer.problems import MAX_NAME, MOST_TOLD, Reason
from server.transfer.reading import sliced
from tests.server.transfer.app_files import REFUSALS, mutated, prompts_of, reading_of, told
from tests.support.samples import CANARY, app_file, backup, every_file, favorites_file, json_bytes, own_file, packed

SAMPLES = Path(__file__).parent / "samples"


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "kind", "counts"),
    [
        ("app-data.json", Kind.APP_DATA, {"prompts": 3, "templates": 2, "contexts": 1, "models": 4, "preferences": 5}),
        ("favorites.json", Kind.FAVORITES, {"prompts": 2, "categories": 5, "tags": 2}),
        ("favorites.po-favorites.zip", Kind.FAVORITES_PACKAGE, {"prompts": 2, "categories": 5, "tags": 2}),
        ("template.json", Kind.TEMPLATE, {"templates": 1}),
    ],
)
def test_what_the_app_has_written_is_read_whole(name: str, kind: Kind, counts: dict[str, int]) -> None:
    reading = reading_of(sample(name))
    assert reading.kind is kind
    assert {section: len(there) for section in SECTIONS if (there := getattr(reading.library, section))} == counts
    assert reading.findings.errors == 0
    assert b"sk-sample" not in reading.library.model_dump_json().encode()


def test_a_backup_that_the_app_would_write_of_the_samples_is_read_whole() -> None:
    names = ("manifest.json", "app-data.json", "favorites.json")
    reading = reading_of(packed({name: sample(name) for name in names}))
    assert (reading.kind, len(reading.library.prompts), reading.findings.resources) == (Kind.BACKUP, 4, 1)
    report = prompts_of(reading)["fav:fav_1795380006100_5o7pwtab4"]
    assert [version.kind for version in report.versions] == ["optimize", "iterate", "iterate", "asset", "asset"]
    assert [each.reason for each in reading.findings.problems] == [Reason.NOTHING_IN_IT] * 3


@pytest.mark.parametrize("kind", every_file())
def test_every_kind_is_read_without_an_error_and_without_a_key(kind: str) -> None:
    reading = reading_of(every_file()[kind])
    assert (reading.kind, reading.findings.errors) == (kind, 0)
    assert reading.is_foreign == kind.startswith("prompt-optimizer")
    assert CANARY not in reading.library.model_dump_json()
    assert CANARY not in str(reading.findings)
    assert LibraryFile.model_validate(reading.library.model_dump()) == reading.library


def test_ids_depend_on_the_file_and_the_library_alone() -> None:
    one, other = reading_of(backup()).library, reading_of(backup()).library
    assert one == other
    assert len({each.id for each in one.prompts}) == len(one.prompts)


def test_a_byte_order_mark_is_no_part_of_the_file() -> None:
    assert reading_of(b"\xef\xbb\xbf" + json_bytes(favorites_file())).library == reading_of(json_bytes(favorites_file())).library


OTHERS = (
    b"{}",
    b"[]",
    b"7",
    b'"text"',
    b'{"prompts": []}',
    b"\x89PNG\r\n",
    b"%PDF-1.7",
    b"<html></html>",
    b"title,content\na,b",
    b" " * 5000 + b"{}",
)


@pytest.mark.parametrize("data", [*OTHERS, packed({"other.json": {}}), packed({})])
def test_other_apps_files_are_unknown(data: bytes) -> None:
    with pytest.raises(UnknownFile):
        reading_of(data)


@pytest.mark.parametrize("data", [b"", b"{", b"PK\x03\x04", b'{"favorites": [], "version": "1.0"', b"[1,]", b'{"a": NaN}'])
def test_what_breaks_off_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedFile):
        reading_of(data)


def test_utf_16_is_told_as_what_it_is() -> None:
    with pytest.raises(UnsupportedEncoding) as refused:
        reading_of(json.dumps(favorites_file()).encode("utf-16"))
    assert "UTF-16" in refused.value.what


def test_a_later_version_of_ours_is_told_as_such() -> None:
    for data in (json_bytes(own_file(version=2)), packed({"library.json": own_file(version=2)})):
        with pytest.raises(NewerFile):
            reading_of(data)


def test_half_a_character_is_repaired_and_told() -> None:
    reading = reading_of(json.dumps(favorites_file()).replace("Weekly report", "Weekly \\ud83d").encode())
    assert [each.title for each in reading.library.prompts] == ["Weekly \N{REPLACEMENT CHARACTER}"]
    assert told(reading.findings) == [("file", "file", "repaired_text", None)]


# --- packages


@pytest.mark.parametrize(
    ("broken", "reason", "left"),
    [
        ({"app-data.json": b'{"version": 1, "da'}, "malformed", {"fav:fav_1"}),
        ({"favorites.json": b""}, "malformed", {"chain:c1", "chain:c2"}),
        ({"app-data.json": b'{"other": 1}'}, "unknown_file", {"fav:fav_1"}),
        ({"favorites.json": json.dumps(favorites_file()).encode("utf-16")}, "unsupported_encoding", {"chain:c1", "chain:c2"}),
    ],
)
def test_a_file_of_a_package_that_cannot_be_read_costs_no_other(broken: dict[str, bytes], reason: str, left: set[str]) -> None:
    manifest = {"schemaVersion": "prompt-optimizer/app-backup/v1", "appDataPath": "app-data.json", "favoritesPath": "favorites.json"}
    files: dict[str, Any] = {"manifest.json": manifest, "app-data.json": app_file(), "favorites.json": favorites_file()}
    reading = reading_of(packed(files | broken))
    assert set(prompts_of(reading)) == left
    (problem,) = [each for each in reading.findings.problems if each.is_error]
    assert (problem.file, problem.reason) == (next(iter(broken)), reason)


def test_a_file_that_the_manifest_names_and_is_not_there_is_told() -> None:
    manifest = {"schemaVersion": "prompt-optimizer/app-backup/v1", "appDataPath": "data/app.json", "favoritesPath": "f.json"}
    reading = reading_of(packed({"manifest.json": manifest, "f.json": favorites_file()}))
    assert (reading.kind, set(prompts_of(reading))) == (Kind.BACKUP, {"fav:fav_1"})
    assert told(reading.findings) == [("file", "data/app.json", "missing_file", None)]


def test_a_package_without_a_manifest_or_with_half_of_one_is_read_by_its_usual_names() -> None:
    files = {"favorites.json": favorites_file(), "app-data.json": app_file()}
    assert len(reading_of(packed(files)).library.prompts) == 2
    assert len(reading_of(packed(files | {"manifest.json": b'{"schema'})).library.prompts) == 2


def test_a_package_of_which_nothing_can_be_read_is_refused_for_that() -> None:
    with pytest.raises(MalformedFile):
        reading_of(packed({"favorites.json": b"{", "app-data.json": b"["}))
    with pytest.raises(UnknownFile):
        reading_of(packed({"library.json": favorites_file()}))


# --- bounds


def test_what_is_told_is_bounded_and_the_rest_is_counted() -> None:
    reading = reading_of(own_file(templates=[{"id": "x" * 150 + str(number)} for number in range(MOST_TOLD + 50)]))
    findings = reading.findings
    assert (len(findings.problems), findings.more_problems, findings.errors) == (MOST_TOLD, 50, MOST_TOLD + 50)
    assert max(len(each.item) for each in findings.problems) == MAX_NAME
    settings = {f"key {number} token": "x" for number in range(MOST_TOLD + 7)}
    findings = reading_of(own_file(preferences=settings)).findings
    assert (len(findings.left_out), findings.more_left_out) == (MOST_TOLD, 12)


def test_versions_are_bounded_over_all_prompts_and_parts_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_ALL_VERSIONS", 3)
    monkeypatch.setattr(bounds, "MOST_PARTS", 4)
    prompt = own_file()["prompts"][0]
    listed = [
        prompt | {"id": name, "versions": [prompt["versions"][0] | {"id": f"{name}{number}"} for number in range(2)]} for name in "abc"
    ]
    reading = reading_of(own_file(prompts=[*listed, prompt | {"id": "d", "tags": list("abcde")}, prompt | {"id": "e", "versions": []}]))
    assert [each.id for each in reading.library.prompts] == ["a", "e"]
    assert [(each[1], each[3]) for each in told(reading.findings)] == [("b", "versions"), ("c", "versions"), ("d", None)]
    assert reading.findings.skipped["prompts"] == 3


@pytest.mark.parametrize(("prompts", "versions", "sizes"), [(2, 100, [2, 2, 1]), (100, 4, [2, 2, 1]), (100, 1, [1] * 5), (100, 100, [5])])
def test_a_large_file_comes_in_slices(monkeypatch: pytest.MonkeyPatch, prompts: int, versions: int, sizes: list[int]) -> None:
    monkeypatch.setattr(readings, "SLICE_PROMPTS", prompts)
    monkeypatch.setattr(readings, "SLICE_VERSIONS", versions)
    prompt, first = own_file()["prompts"][0], own_file()["prompts"][0]["versions"][0]
    listed = [prompt | {"id": name, "versions": [first | {"id": f"{name}1"}, first | {"id": f"{name}2"}]} for name in "abcde"]
    whole = reading_of(own_file(prompts=listed))
    slices = sliced(whole)
    assert [len(each.library.prompts) for each in slices] == sizes
    assert [prompt for each in slices for prompt in each.library.prompts] == whole.library.prompts
    assert slices[0].library.templates == whole.library.templates
    assert all(each.library.templates == [] and each.library.categories == whole.library.categories for each in slices[1:])
    assert [each.findings.left_out for each in slices[1:]] == [[]] * (len(sizes) - 1)


def test_parts_are_bounded_over_all_prompts_and_in_each_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_ALL_PARTS", 9)
    monkeypatch.setattr(readings, "SLICE_PARTS", 4)
    bare = own_file()["prompts"][0] | {"versions": [], "labels": {}, "examples": {}, "uses": {}}
    counts = {"a": 2, "b": 2, "c": 3, "d": 3, "e": 2}
    reading = reading_of(own_file(prompts=[bare | {"id": name, "tags": list("12345"[:count])} for name, count in counts.items()]))
    assert [[each.id for each in part.library.prompts] for part in sliced(reading)] == [["a", "b"], ["c"], ["e"]]
    assert [(each[1], each[3]) for each in told(reading.findings)] == [("d", None)]


# --- whatever it is


@given(st.binary(max_size=200))
@example(b"PK\x03\x04" + bytes(100))
@example(b"PK\x05\x06" + bytes(18))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(REFUSALS):
        reading_of(data)


@given(st.sampled_from(sorted(every_file())), st.data())
def test_any_beginning_of_a_file_is_refused(kind: str, data: st.DataObject) -> None:
    whole = every_file()[kind]
    with pytest.raises(REFUSALS):
        reading_of(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.sampled_from([kind for kind, data in every_file().items() if data[:1] == b"{"]), st.randoms(use_true_random=False))
def test_a_file_in_which_anything_is_something_else_is_read_or_refused(kind: str, source: random.Random) -> None:
    value = json.loads(every_file()[kind])
    for _ in range(source.randint(1, 4)):
        value = mutated(value, source)
    try:
        reading = reading_of(value)
    except REFUSALS:
        return
    assert CANARY not in reading.library.model_dump_json()
    assert LibraryFile.model_validate(reading.library.model_dump()) == reading.library
    lost = sum(reading.findings.skipped.values())
    assert lost <= len(reading.findings.problems) + reading.findings.more_problems
