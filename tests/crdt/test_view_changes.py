"""A view that is kept shows what a new one would, whatever happens to the library meanwhile."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt import operations as ops
from crdt.library import Library, Root
from crdt.operations import NewPrompt, NewVersion
from crdt.seed import SEED
from crdt.view import View
from tests.crdt.garbage import WRITES, Write, write

AT = 1_764_108_000_000
ROOT = Path(__file__).resolve().parents[2]
ETAG = """
import sys
from crdt.library import Library
from crdt.view import View
print(View(Library.load(sys.stdin.buffer.read())).full("p").etag)
"""


def everything(view: View) -> dict[str, Any]:
    """All that a view can tell."""
    ids = sorted(view.prompt_ids())
    read = {
        "prompts": {prompt.id: prompt for prompt in view.prompts()},
        "full": {prompt_id: view.full(prompt_id) for prompt_id in ids},
        "versions": {prompt_id: [view.version(prompt_id, one.id) for one in view.versions(prompt_id)] for prompt_id in ids},
        "words": dict(zip([row.id for row in view.rows()], view.words(view.rows()), strict=True)),
        "categories": view.categories(),
        "tags": view.tags(),
        "rest": (view.templates(), view.contexts(), view.variables(), view.preferences(), view.device_prefs("p"), view.models()),
    }
    return read | {"problems": set(view.problems)}


@pytest.fixture
def library() -> Library:
    library = Library.load(SEED, 5)
    for key in ("p", "q"):
        first = NewVersion(id=f"{key}1", text=f"text of {key}", kind="optimize", at=AT, device="d", more={"model": "m"})
        made = NewPrompt(id=key, title=key, created_at=AT, device="d", order="a", tags=["Work"], category="cat-writing", version=first)
        ops.create_prompt(library, made)
    return library


CHANGES: list[Callable[[Library], bytes]] = [
    lambda library: ops.set_fields(library, "p", {"title": "new"}),
    lambda library: ops.edit_original(library, "p", "typed"),
    lambda library: ops.edit_version(library, "p1", "text of p, typed on"),
    lambda library: ops.add_tags(library, "p", ["more"]),
    lambda library: ops.remove_tags(library, "p", ["work"]),
    lambda library: ops.count_use(library, "p", "d"),
    lambda library: ops.label_version(library, "p", "production", "p1"),
    lambda library: ops.add_version(library, "p", NewVersion(id="p2", text="two", kind="iterate", at=AT + 9, device="d")),
    lambda library: ops.delete_prompt(library, "p", AT + 1),
    lambda library: ops.purge_prompt(library, "p"),
    lambda library: ops.create_prompt(library, NewPrompt(id="r", title="r", created_at=AT, device="d", order="b")),
    lambda library: ops.delete_category(library, "cat-writing", AT),
    lambda library: library.edit(lambda: library.root(Root.TAGS).__setitem__("work", {"label": "WORK!"})),
    lambda library: library.edit(lambda: library.root(Root.TAGS).__setitem__("work", {"merged_into": "job"})),
    lambda library: library.edit(lambda: library.root(Root.PROMPTS)["p"].__setitem__("title", 7)),
    lambda library: library.edit(lambda: library.root(Root.VERSIONS).__setitem__("p1", "none")),
    lambda library: library.edit(lambda: library.root(Root.USES).__setitem__("p/x", "many")),
]


@pytest.mark.parametrize("remote", [False, True], ids=["own edit", "another's"])
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_seen_and_only_what_it_touches_read_anew(library: Library, change: Callable[[Library], bytes], remote: bool) -> None:
    view = View(library)
    before = everything(view)
    update = change(Library.load(library.content(), 9)) if remote else change(library)
    if remote:
        library.apply(update)
    after = everything(view)
    assert after == everything(View(library))
    assert after != before
    # the other prompt's row is the one of before, unless tags or categories show it differently
    if after["prompts"]["q"] == before["prompts"]["q"]:
        assert after["prompts"]["q"] is before["prompts"]["q"]


def test_problems_go_with_what_was_mended_and_come_with_new_damage(library: Library) -> None:
    view = View(library)
    prompt = library.root(Root.PROMPTS)["p"]
    library.edit(lambda: prompt.__setitem__("title", 7))
    library.edit(lambda: library.root(Root.USES).__setitem__("q/x", "many"))
    everything(view)
    assert set(view.problems) == {"prompts/p/title: not a string", "uses/q/x: not a number"}
    library.edit(lambda: prompt.__setitem__("title", "mended"))
    assert view.problems == ["uses/q/x: not a number"]
    library.edit(lambda: library.root(Root.USES).__delitem__("q/x"))
    assert view.problems == []


@given(st.lists(WRITES, min_size=2, max_size=4))
def test_a_kept_view_tells_the_same_as_a_new_one_whatever_clients_write(steps: list[list[Write]]) -> None:
    library = Library.load(SEED, 5)
    ops.create_prompt(library, NewPrompt(id="p", title="t", created_at=AT, device="d", order="a0", tags=["a"]))
    ops.create_prompt(library, NewPrompt(id="so that all roots are read", title="t", created_at=AT, device="d", order="a0", tags=["b"]))
    other = Library.load(library.content(), 9)
    view = View(library)
    for number, writes in enumerate(steps):
        if number % 2:
            library.edit(write(library, writes))
        else:
            library.apply(other.edit(write(other, writes)))
        assert everything(view) == everything(View(library))


def test_a_view_and_its_library_are_freed_without_being_closed(library: Library) -> None:
    mine = Library.load(library.content())
    view = View(mine)
    everything(view)
    gone = weakref.ref(view), weakref.ref(mine), weakref.ref(mine.doc)
    ops.set_fields(mine, "p", {"title": "new"})
    del mine, view
    gc.collect()
    assert [each() for each in gone] == [None, None, None]


def test_a_closed_view_sees_no_further_changes(library: Library) -> None:
    view = View(library)
    everything(view)
    view.close()
    ops.set_fields(library, "p", {"title": "later"})
    prompt = view.prompt("p")
    assert prompt is not None
    assert prompt.title == "p"
    view.close()


def test_what_a_view_takes_grows_with_what_it_has_read(library: Library) -> None:
    view = View(library)
    empty = view.nbytes
    assert empty >= library.applied_bytes > 1_000
    view.prompts()
    listed = view.nbytes
    view.words(view.rows())
    searched = view.nbytes
    assert empty < listed < searched
    ops.purge_prompt(library, "p")
    ops.purge_prompt(library, "q")
    view.prompts()
    assert view.nbytes < searched


def test_the_same_state_has_the_same_etag_in_every_process(library: Library) -> None:
    ops.set_fields(library, "p", {"variables": {"b": 1, "a": {"z": [1.0, 2.5], "y": True}}})
    full = View(library).full("p")
    assert full is not None
    assert (len(full.etag), full) == (32, View(Library.load(library.content(), 77)).full("p"))
    for seed in ("1", "2"):
        command, env = [sys.executable, "-c", ETAG], {"PYTHONHASHSEED": seed}
        python = subprocess.run(command, input=library.content(), capture_output=True, check=True, env=env, cwd=ROOT)
        assert python.stdout.decode().strip() == full.etag


@pytest.mark.parametrize("change", CHANGES[:9])
def test_whatever_is_shown_of_a_prompt_changes_its_etag_and_no_other(library: Library, change: Callable[[Library], bytes]) -> None:
    view = View(library)
    before = [view.full(key) for key in ("p", "q")]
    change(library)
    after = [view.full(key) for key in ("p", "q")]
    assert before[0] is not None
    assert after[0] is not None
    assert before[0].etag != after[0].etag
    assert before[1] == after[1]
