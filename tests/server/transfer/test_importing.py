"""Bringing files into a library: what is new comes, what is there stays, and nothing changes the second time."""

import json
import pickle
import random
from collections.abc import Mapping
from itertools import permutations
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt import operations as ops
from crdt.library import Library, Root
from crdt.operations import NewPrompt, NewVersion
from crdt.own_update import making
from crdt.seed import SEED
from crdt.shown import FullPrompt
from crdt.updates import EMPTY_UPDATE
from crdt.view import View
from server.desk import portable
from server.intents import importing
from server.intents.importing import WouldImport, bring
from server.transfer.library_file import SECTIONS
from server.transfer.reading import read
from tests.server.transfer.app_files import IDS, LIBRARY, NOW, REFUSALS, mutated
from tests.support.samples import (
    AT,
    CANARY,
    app_data,
    app_file,
    backup,
    desktop_file,
    every_file,
    favorite,
    favorites_file,
    own_file,
    record,
    with_asset,
)

FAVORITE, CHAIN = IDS.of("fav:fav_1"), IDS.of("chain:c1")


class Importing:
    """A library that files are brought into."""

    def __init__(self) -> None:
        self.library = Library.load(SEED, 5)
        self.view = View(self.library)

    def __call__(self, file: Any, *, dry_run: bool = False) -> Mapping[str, Any]:
        """Bring a file in; the report, with the update that it made."""
        data = file if isinstance(file, bytes) else json.dumps(file).encode()
        with making(self.library.doc) as made:
            report = bring(self.view, pickle.dumps(read(data, LIBRARY, NOW)), now=NOW, dry_run=dry_run)
        assert self.view.problems == []
        return {**report, "update": made.update}

    def full(self, prompt_id: str) -> FullPrompt:
        found = self.view.full(prompt_id)
        assert found is not None
        return found

    def texts(self, prompt_id: str) -> list[str]:
        return [self.view.text(version.id) for version in self.view.versions(prompt_id)]

    def content(self) -> dict[Root, Any]:
        return {root: self.library.root(root).to_py() for root in Root}


@pytest.fixture
def into() -> Importing:
    return Importing()


def counts(report: Mapping[str, Any], section: str) -> tuple[int, int, int, int]:
    found = report["sections"][section]
    return found["created"], found["merged"], found["unchanged"], found["skipped"]


def codes(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [(each["section"], each["item"], each["code"]) for each in report["problems"]]


# --- what comes


def test_a_library_of_ours_comes_whole_under_its_own_ids(into: Importing) -> None:
    report = into(own_file())
    assert {section: counts(report, section)[0] for section in SECTIONS} == {
        "prompts": 2, "categories": 1, "tags": 2, "templates": 1, "contexts": 1, "models": 1, "variables": 1, "preferences": 3,
        "device_preferences": 1,
    }  # fmt: skip
    state, view = into.full("p1"), into.view
    prompt = state.prompt
    assert (prompt.title, prompt.tags, prompt.category, prompt.favorite, prompt.order) == ("Report", ("Work",), "k1", True, "a0")
    assert (state.original, state.optimized, state.examples) == ("write", "# Role: Writer", {"e": {"input": "x"}})
    assert (prompt.labels, prompt.uses, prompt.created_at, prompt.touched_at, prompt.created_by) == ({"production": "v1"}, 2, AT, AT, "d")
    assert (prompt.model, view.versions("p1")[0].device) == ("deepseek", "d")
    assert into.full("p2").prompt.deleted_at == AT + 5
    assert {tag.key: tag.merged_into for tag in view.tags()} == {"work": None, "job": "work"}
    assert view.templates()[0].content == "Shorten {{x}}"
    assert view.contexts()[0].messages == [{"role": "user", "content": "hi"}]
    (model,) = view.models()
    assert (model.id, model.provider, model.params, model.key_ref) == ("m1", "openai", {"temperature": 1}, None)
    assert view.variables() == {"audience": "my team"}
    assert view.preferences() == {"theme": "dark", "nothing": {"in": None}, "gateway": {}}
    assert view.device_prefs("d1") == {"panel": 320}


def test_a_backup_comes_with_prompts_in_their_categories(into: Importing) -> None:
    into(backup())
    prompt = into.full(FAVORITE).prompt
    names = {each.id: (each.name, each.parent) for each in into.view.categories()}
    assert prompt.category is not None
    assert names[prompt.category] == ("Reports", IDS.of("cat:cat_top"))
    assert names[IDS.of("cat:cat_top")] == ("Work", None)
    assert (prompt.tags, prompt.uses, prompt.favorite) == (("Work", "报告"), 3, True)
    assert into.texts(FAVORITE) == ["# Role: Writer", "# Role: Writer, short"] * 2
    assert prompt.current == into.view.versions(FAVORITE)[3].id
    assert into.texts(IDS.of("chain:c2")) == ["请把会议记录整理成清单 😀"]


def test_a_category_of_the_same_name_is_ours(into: Importing) -> None:
    report = into(favorites_file(favorite(category="cat_same")))
    assert counts(report, "categories") == (2, 0, 1, 0)
    assert into.full(FAVORITE).prompt.category == "cat-programming"
    assert sum(each.name.casefold() == "programming" for each in into.view.categories()) == 1


def test_categories_of_ours_come_under_their_ids_whatever_they_are_called(into: Importing) -> None:
    into(own_file(categories=[{"id": "k1", "name": "Programming"}, {"id": "k2", "name": "Below", "parent": "k1"}]))
    assert {each.id: each.parent for each in into.view.categories() if each.id.startswith("k")} == {"k1": None, "k2": "k1"}


def test_parents_in_a_circle_are_opened_and_told(into: Importing) -> None:
    listed = [{"id": name, "name": name, "parent": parent} for name, parent in ("ab", "bc", "ca", "dd")]
    report = into(own_file(categories=listed))
    assert counts(report, "categories") == (4, 0, 0, 0)
    assert [code for section, _, code in codes(report) if section == "categories"] == ["circular_parent"] * 2
    assert report["errors"] == 0


def test_prompts_without_a_place_come_last_in_the_files_order(into: Importing) -> None:
    ops.create_prompt(into.library, NewPrompt(id="here", title="t", created_at=1, device="d", order="z"))
    into(favorites_file(*(favorite(f"fav_{number}") for number in range(100))))
    ordered = sorted(into.view.prompts(), key=lambda prompt: (prompt.order, prompt.id))
    assert [prompt.id for prompt in ordered] == ["here", *(IDS.of(f"fav:fav_{number}") for number in range(100))]


# --- twice


@pytest.mark.parametrize("kind", every_file())
def test_the_same_file_writes_nothing_the_second_time(into: Importing, kind: str) -> None:
    first = into(every_file()[kind])
    before = into.content()
    again = into(every_file()[kind])
    assert (again["update"], into.content()) == (EMPTY_UPDATE, before)
    for section in SECTIONS:
        assert counts(again, section)[:2] == (0, 0)
        assert counts(again, section)[2] == counts(first, section)[0] + counts(first, section)[2]


def test_the_same_things_in_other_files_are_known_again(into: Importing) -> None:
    into(backup())
    before = into.content()
    for file in (app_file(), favorites_file(), every_file()["prompt-optimizer/favorites-package"], backup()):
        assert into(file)["update"] == EMPTY_UPDATE
    assert into.content() == before
    assert counts(into(desktop_file()), "prompts") == (0, 0, 2, 0)


def test_two_libraries_get_the_same_content_from_the_same_file() -> None:
    one, other = Importing(), Importing()
    one(backup())
    other(backup())
    assert one.content() == other.content()


def test_what_two_servers_import_at_once_is_refused_by_clocks_and_built_again(into: Importing) -> None:
    other = Importing()
    other.library.apply(into.library.content())
    other.library.apply(into(backup())["update"])  # what the second server has built on when it is its turn
    assert other(backup())["update"] == EMPTY_UPDATE
    assert other.content() == into.content()


# --- history and favorites in files of their own


@pytest.mark.parametrize("order", list(permutations(["app", "favorites", "backup"], 2)))
def test_a_favorite_and_its_history_become_one_prompt_in_whatever_order_they_come(into: Importing, order: tuple[str, str]) -> None:
    files: dict[str, Any] = {"app": app_file(), "favorites": favorites_file(), "backup": backup()}
    for name in order:
        into(files[name])
    assert len(into.view.prompts()) == 2
    (prompt,) = [each for each in into.view.prompts() if each.favorite]
    assert (prompt.title, prompt.description, prompt.tags, prompt.uses) == ("Weekly report", "for the team", ("Work", "报告"), 3)
    assert prompt.category == IDS.of("cat:cat_child")
    assert sorted(into.texts(prompt.id)) == sorted(["# Role: Writer", "# Role: Writer, short"] * 2)
    assert into.view.version(prompt.id, prompt.current or "") is not None
    assert prompt.current == IDS.of("fav:fav_1/text:" + _digest("# Role: Writer, short") + ":1")
    for file in files.values():
        assert into(file)["update"] == EMPTY_UPDATE


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def test_of_two_favorites_only_one_joins_the_history_that_is_there(into: Importing) -> None:
    into(app_file())
    into(favorites_file(favorite("fav_a"), favorite("fav_b")))
    assert len(into.view.prompts()) == 3
    assert [len(into.texts(prompt_id)) for prompt_id in (CHAIN, IDS.of("fav:fav_b"))] == [3, 1]
    assert into(favorites_file(favorite("fav_a"), favorite("fav_b")))["update"] == EMPTY_UPDATE


def test_a_history_that_somebody_has_named_keeps_its_name_when_its_favorite_comes(into: Importing) -> None:
    into(app_file())
    ops.set_fields(into.library, CHAIN, {"title": "Mine"})
    ops.add_version(into.library, CHAIN, NewVersion(id="own", text="my own", kind="edit", at=NOW, device="d"))
    into(favorites_file())
    prompt = into.full(CHAIN).prompt
    assert (prompt.title, prompt.current, prompt.favorite) == ("Mine", "own", True)
    ops.set_fields(into.library, CHAIN, {"favorite": False})
    assert into(favorites_file())["update"] == EMPTY_UPDATE  # it has joined before


# --- what was edited since


@pytest.mark.parametrize("change", ["chosen", "edited", "nothing"])
def test_a_version_that_somebody_has_chosen_or_edited_stays_in_use_when_the_favorite_comes(into: Importing, change: str) -> None:
    into(app_file())
    first, last = [each.id for each in sorted(into.view.versions(CHAIN), key=lambda version: version.at)]
    assert into.full(CHAIN).prompt.current == last
    if change == "chosen":
        ops.choose_version(into.library, CHAIN, first)
    elif change == "edited":
        ops.edit_version(into.library, last, "as I want it")
    if change != "nothing":
        ops.set_fields(into.library, CHAIN, {"touched_at": NOW})
    used = into.full(CHAIN).prompt.current
    into(favorites_file())
    prompt = into.full(CHAIN).prompt
    assert prompt.favorite
    assert (prompt.current == used) == (change != "nothing")


def test_a_long_line_of_categories_is_brought_in_at_once(into: Importing) -> None:
    line = [{"id": f"c{number}", "name": f"n{number}", "parent": f"c{number + 1}"} for number in range(2_000)]
    began = process_time()
    into(own_file(categories=line))
    assert process_time() - began < 5
    parents = {each.id: each.parent for each in into.view.categories()}
    assert (parents["c0"], parents["c1998"]) == ("c1", "c1999")


def test_a_circle_through_a_category_that_was_missing_is_opened(into: Importing) -> None:
    ops.create_category(into.library, "above", name="above", order="a0", at=AT)
    ops.create_category(into.library, "below", name="below", order="a0", at=AT, more={"parent": "above"})
    into.library.edit(lambda: into.library.root(Root.CATEGORIES).pop("above"))
    file = own_file(categories=[{"id": "above", "name": "above", "parent": "below"}, {"id": "self", "name": "s", "parent": "self"}])
    report = bring(into.view, pickle.dumps(read(json.dumps(file).encode(), LIBRARY, NOW)), now=NOW, dry_run=False)
    assert [code for section, _, code in codes(report) if section == "categories"] == ["circular_parent"] * 2
    assert {each.id: each.parent for each in into.view.categories()}["below"] == "above"


def test_a_prompt_gets_what_it_lacks_and_keeps_what_it_has(into: Importing) -> None:
    into(favorites_file(favorite()))
    library = into.library
    ops.set_fields(library, FAVORITE, {"title": "Mine", "favorite": False, "category": None, "pinned": True})
    ops.edit_version(library, into.view.versions(FAVORITE)[0].id, "edited")
    ops.add_tags(library, FAVORITE, ["own"])
    ops.count_use(library, FAVORITE, "d")
    later = with_asset() | {"title": "Theirs", "tags": ["Work", "new"], "useCount": 5}
    report = into(favorites_file(later))
    assert counts(report, "prompts") == (0, 1, 0, 0)
    prompt = into.full(FAVORITE).prompt
    assert (prompt.title, prompt.favorite, prompt.category, prompt.pinned) == ("Mine", False, None, True)
    assert (prompt.tags, prompt.uses) == (("Work", "new", "own", "报告"), 6)
    assert into.texts(FAVORITE) == ["# Role: Writer", "edited"]
    assert into.full(FAVORITE).optimized == "edited"
    assert list(into.full(FAVORITE).examples) == ["ex-1"]
    assert into(favorites_file(later))["update"] == EMPTY_UPDATE


def test_a_name_that_the_file_has_otherwise_is_told_and_stays(into: Importing) -> None:
    into(favorites_file())
    assert codes(into(favorites_file())) == []
    ops.set_fields(into.library, FAVORITE, {"title": "Mine"})
    assert codes(into(favorites_file())) == [("prompts", FAVORITE, "kept_ours")]
    assert all(code != "kept_ours" for _, _, code in codes(into(app_file())))  # what a history would be called is no name


def test_a_longer_history_is_appended_and_what_is_used_stays(into: Importing) -> None:
    into(app_file({"history": [record("c1", 1, "one")]}))
    report = into(app_file({"history": [record("c1", 2, "two"), record("c1", 1, "one")]}))
    assert counts(report, "prompts") == (0, 1, 0, 0)
    assert into.texts(CHAIN) == ["one", "two"]
    assert into.full(CHAIN).optimized == "one"


def test_a_root_that_was_lost_is_found_by_its_versions_again(into: Importing) -> None:
    into(app_file({"history": [record("c1", 2, "two")]}))
    into(app_file({"history": [record("c1", 2, "two"), record("c1", 1, "one")]}))
    versions = into.view.versions(CHAIN)
    assert [version.parent for version in versions] == [None, versions[0].id]


def test_tags_that_were_merged_are_not_given_again(into: Importing) -> None:
    into(favorites_file())
    ops.rename_tag(into.library, "Work", "Job", at=NOW)
    assert into(favorites_file())["update"] == EMPTY_UPDATE
    assert into.full(FAVORITE).prompt.tags == ("Job", "报告")


def test_what_is_in_the_bin_stays_there_and_still_gets_versions(into: Importing) -> None:
    into(favorites_file(favorite()))
    ops.delete_prompt(into.library, FAVORITE, NOW)
    ops.delete_category(into.library, IDS.of("cat:cat_child"), NOW)
    assert into(favorites_file(favorite()))["update"] == EMPTY_UPDATE
    into(favorites_file(with_asset()))
    assert into.full(FAVORITE).prompt.deleted_at == NOW
    assert len(into.texts(FAVORITE)) == 2


def test_what_was_purged_comes_back_because_the_file_has_it(into: Importing) -> None:
    into(backup())
    before = into.content()[Root.VERSIONS]
    ops.purge_prompt(into.library, FAVORITE)
    assert counts(into(backup()), "prompts") == (1, 0, 1, 0)
    assert into.content()[Root.VERSIONS] == before


def test_templates_models_and_settings_that_are_there_stay_and_that_is_told(into: Importing) -> None:
    into(app_file())
    ops.set_template_fields(into.library, "tpl-text", {"content": "mine"}, at=NOW)
    ops.set_context_fields(into.library, "default", {"title": "mine"}, at=NOW)
    ops.set_model_fields(into.library, "deepseek", {"enabled": False})
    ops.merge_preferences(into.library, {"app:settings:ui:theme-id": "light"})
    into(own_file())
    ops.set_variable(into.library, "audience", "all")
    before = into.content()
    told = codes(into(app_file())) + codes(into(own_file()))
    assert into.content() == before
    assert {each for each in told if each[2] == "kept_ours"} == {
        ("templates", "tpl-text", "kept_ours"), ("contexts", "default", "kept_ours"), ("models", "deepseek", "kept_ours"),
        ("preferences", "app:settings:ui:theme-id", "kept_ours"), ("variables", "audience", "kept_ours"),
    }  # fmt: skip


def test_a_model_gets_the_fields_it_lacks(into: Importing) -> None:
    ops.set_model_fields(into.library, "deepseek", {"enabled": False, "key_ref": {"mode": "device"}})
    assert counts(into(app_file({"models": app_data()["models"]})), "models") == (0, 1, 0, 0)
    (model,) = into.view.models()
    assert (model.enabled, model.model, model.key_ref) == (False, "deepseek-chat", {"mode": "device"})


# --- what cannot be taken


def test_a_version_that_another_prompt_has_is_told_and_costs_nothing_else(into: Importing) -> None:
    into(own_file())
    stolen = own_file()["prompts"][0]
    report = into(own_file(prompts=[stolen | {"id": "p3", "versions": [*stolen["versions"], stolen["versions"][0] | {"id": "v9"}]}]))
    assert ("prompts", "p3", "id_taken") in codes(report)
    assert report["errors"] == 1
    assert [version.id for version in into.view.versions("p3")] == ["v9"]
    assert [version.id for version in into.view.versions("p1")] == ["v1"]


def test_ids_that_cannot_be_prompts_are_skipped(into: Importing) -> None:
    prompt = own_file()["prompts"][1]
    report = into(own_file(prompts=[prompt | {"id": "a/b"}, prompt]))
    assert counts(report, "prompts") == (1, 0, 0, 1)
    assert codes(report) == [("prompts", "a/b", "invalid")]


def test_what_a_client_has_damaged_is_told_and_left_alone(into: Importing) -> None:
    for root, key in ((Root.PROMPTS, "p1"), (Root.TEMPLATES, "t1"), (Root.CONTEXTS, "x1")):
        into.library.edit(lambda root=root, key=key: into.library.root(root).__setitem__(key, "garbage"))  # type: ignore[misc]
    report = bring(into.view, pickle.dumps(read(json.dumps(own_file()).encode(), LIBRARY, NOW)), now=NOW, dry_run=False)
    assert set(codes(report)) == {("prompts", "p1", "damaged"), ("templates", "t1", "damaged"), ("contexts", "x1", "damaged")}
    assert report["errors"] == 3
    assert into.view.prompt("p2") is not None
    assert into.library.root(Root.PROMPTS)["p1"] == "garbage"


def test_more_variables_and_preferences_than_a_library_may_have_are_skipped(into: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MOST_VARIABLES", 2)
    monkeypatch.setattr(importing, "MOST_PREFERENCES", 2)
    report = into(own_file(variables=dict.fromkeys("abcd", "x"), preferences=dict.fromkeys("abc", 1)))
    assert (counts(report, "variables"), counts(report, "preferences")) == ((2, 0, 0, 2), (2, 0, 0, 1))
    assert [code for _, _, code in codes(report)] == ["too_many"] * 3


def test_values_that_yjs_cannot_keep_are_skipped_alone(into: Importing) -> None:
    deep: Any = 0
    for _ in range(60):
        deep = [deep]
    report = into(own_file(preferences={"fine": deep, "large": 10**30}))
    assert counts(report, "preferences") == (2, 0, 0, 0)
    assert into.view.preferences()["large"] == 1e30
    assert into(own_file(preferences={"fine": deep, "large": 10**30}))["update"] == EMPTY_UPDATE


@given(st.sampled_from([kind for kind, data in every_file().items() if data[:1] == b"{"]), st.randoms(use_true_random=False))
def test_a_file_in_which_anything_is_something_else_comes_as_far_as_it_can_and_is_known_again(kind: str, source: random.Random) -> None:
    value = json.loads(every_file()[kind])
    for _ in range(source.randint(1, 4)):
        value = mutated(value, source)
    into = Importing()
    try:
        first = into(value)
    except REFUSALS:
        return
    assert CANARY not in str(into.content())
    again = into(value)
    assert again["update"] == EMPTY_UPDATE
    for section in SECTIONS:
        created, merged, unchanged, skipped = counts(first, section)
        assert counts(again, section) == (0, 0, created + merged + unchanged, skipped), section
    into(every_file()[kind])


# --- dry runs


@pytest.mark.parametrize("kind", every_file())
def test_a_dry_run_says_what_would_happen(into: Importing, kind: str) -> None:
    with pytest.raises(WouldImport) as would:
        Importing()(every_file()[kind], dry_run=True)
    told = into(every_file()[kind])
    assert would.value.report == {name: value for name, value in told.items() if name != "update"}
    assert portable(would.value) is would.value  # it can leave its process
