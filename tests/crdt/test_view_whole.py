"""What a copy of a library needs of its view: everything as it is written, and kept up to date while it changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from crdt import operations as ops
from crdt.library import Library, Root
from crdt.operations import NewPrompt, NewVersion
from crdt.seed import SEED
from crdt.shown import WholePrompt
from crdt.view import View
from tests.crdt.garbage import WRITES, Write, write

AT = 1_764_108_000_000


def version(name: str, at: int = AT, **more: Any) -> NewVersion:
    return NewVersion(id=name, text=f"text of {name}", kind="optimize", at=at, device="d", more=more)


@pytest.fixture
def library() -> Library:
    library = Library.load(SEED, 5)
    made = NewPrompt(id="p", title="t", created_at=AT, device="d", order="a", original="o", tags=["Work", "b"], category="gone")
    ops.create_prompt(library, made)
    ops.add_version(library, "p", version("v1", AT + 5, params={"n": 1}, usage={"m": 2}, input="i"))
    ops.add_version(library, "p", version("v2"))
    ops.merge_tags(library, ["work"], "job", at=AT)
    for device in ("d", "d", "e"):
        ops.count_use(library, "p", device)
    return library


def whole(view: View) -> WholePrompt:
    found = view.whole("p")
    assert found is not None
    return found


def test_a_prompt_is_whole_as_it_is_written(library: Library) -> None:
    view = View(library)
    found = whole(view)
    assert (found.original, found.tags, found.category, found.uses) == ("o", ("b", "work"), "gone", {"d": 2, "e": 1})
    assert found.prompt == view.prompt("p")
    assert [(each.version.id, each.version.number, each.text) for each in found.versions] == [
        ("v2", 1, "text of v2"),
        ("v1", 2, "text of v1"),
    ]
    assert found.versions[1] == view.version("p", "v1")
    assert (found.versions[1].params, found.versions[1].usage, found.versions[1].input) == ({"n": 1}, {"m": 2}, "i")
    assert view.whole("none") is None


def test_it_is_kept_up_to_date(library: Library) -> None:
    view = View(library)
    whole(view), view.registry(), view.made(), view.all_device_prefs(), view.strays()
    ops.edit_version(library, "v2", "typed")
    ops.count_use(library, "p", "e")
    ops.add_tags(library, "p", ["c"])
    ops.register_tag(library, "z", at=AT)
    ops.add_version(library, "p", version("v3", AT + 9))
    ops.merge_device_prefs(library, "phone", {"zoom": 2})
    library.edit(lambda: library.root(Root.VERSIONS).__setitem__("lost", {"prompt": "gone", "at": 1}))
    found = whole(view)
    assert (found.versions[0].text, found.uses["e"], found.tags, len(found.versions)) == ("typed", 2, ("b", "c", "work"), 3)
    assert "z" in view.registry()
    assert sorted(view.made()) == [(AT, "d"), (AT + 5, "d"), (AT + 9, "d")]
    assert view.all_device_prefs() == {"phone": {"zoom": 2}}
    assert view.strays() == ["lost"]


def test_the_registry_has_merges_as_they_were_made_but_no_circle(library: Library) -> None:
    merges = {"x": "y", "y": "z", "a": "c", "b": "a", "c": "b"}
    library.edit(lambda: library.root(Root.TAGS).update({tag: {"label": tag, "merged_into": into} for tag, into in merges.items()}))
    view = View(library)
    found = {tag: entry.merged_into for tag, entry in view.registry().items()}
    assert found == {"x": "y", "y": "z", "a": None, "b": "a", "c": "b", "job": None, "work": "job"}
    assert list(found) == sorted(found)
    assert [view.tag_key(tag) for tag in ("x", "a", "b", "c")] == ["z", "a", "a", "a"]


@given(WRITES)
def test_nothing_that_a_client_may_write_makes_reading_raise(writes: list[Write]) -> None:
    library = Library.load(SEED, 5)
    ops.create_prompt(library, NewPrompt(id="p", title="t", created_at=AT, device="d", order="a0"))
    library.edit(write(library, writes))
    view = View(library)
    for prompt in view.prompts():
        found = view.whole(prompt.id)
        assert found is not None
        assert (found.prompt, len(found.versions), sum(found.uses.values())) == (prompt, prompt.versions, prompt.uses)
    assert len(view.made()) == sum(prompt.versions for prompt in view.prompts())
    assert not set(view.strays()) & {each.id for prompt in view.prompts() for each in view.versions(prompt.id)}
    view.registry()
    view.all_device_prefs()
