"""Tags are renamed and merged in one place, and every prompt follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt import operations as ops
from crdt.chains import breaks, ends
from crdt.library import Library, Root
from crdt.operations import NewPrompt
from crdt.view import View

AT = 1_764_108_000_000


def library_of(**prompts: list[str]) -> Library:
    library = Library(5)
    for prompt_id, tags in prompts.items():
        ops.create_prompt(library, NewPrompt(id=prompt_id, title="t", created_at=AT, device="d", order="a", tags=tags))
    return library


def shown(library: Library) -> dict[str, tuple[str, ...]]:
    return {prompt.id: prompt.tags for prompt in View(library).prompts()}


def listed(library: Library) -> dict[str, Any]:
    return {tag.key: (tag.label, tag.count, tag.merged_into) for tag in View(library).tags()}


def test_tags_are_listed_with_what_is_known_of_them() -> None:
    library = library_of(p=["Work", "b"], q=["work"], r=["work"])
    ops.delete_prompt(library, "r", AT)
    ops.register_tag(library, "Unused", at=AT, color="#fff")
    ops.register_tag(library, "unused", at=AT + 1)
    assert listed(library) == {"b": ("b", 1, None), "unused": ("Unused", 0, None), "work": ("work", 2, None)}
    unused = View(library).tags()[1]
    assert (unused.color, unused.created_at) == ("#fff", AT)


def test_a_renamed_tag_shows_in_all_prompts_and_none_of_them_is_written() -> None:
    library = library_of(p=["work", "b"], q=["work"])
    ops.set_tag_color(library, "work", "#123", at=AT)
    prompts = library.root(Root.PROMPTS).to_py()
    ops.rename_tag(library, "Work", "Job 工作", at=AT + 1)
    assert shown(library) == {"p": ("Job 工作", "b"), "q": ("Job 工作",)}
    assert library.root(Root.PROMPTS).to_py() == prompts
    assert listed(library) == {"b": ("b", 1, None), "job 工作": ("Job 工作", 2, None), "work": ("work", 0, "job 工作")}
    assert {tag.key: tag.color for tag in View(library).tags()}["job 工作"] == "#123"


def test_renaming_the_case_changes_the_label_alone() -> None:
    library = library_of(p=["work"])
    ops.rename_tag(library, "work", "WORK", at=AT)
    assert listed(library) == {"work": ("WORK", 1, None)}


def test_renaming_there_and_back_ends_where_it_began() -> None:
    library = library_of(p=["a"])
    ops.rename_tag(library, "a", "B", at=AT)
    ops.rename_tag(library, "b", "A", at=AT)
    assert shown(library) == {"p": ("A",)}
    assert listed(library) == {"a": ("A", 1, None), "b": ("B", 0, "a")}
    ops.rename_tag(library, "B", "C", at=AT)  # what b is shown as
    assert shown(library) == {"p": ("C",)}


def test_several_are_merged_into_one() -> None:
    library = library_of(p=["a"], q=["b", "c"], r=["d"])
    ops.merge_tags(library, ["a", "B", "c"], "D", at=AT)
    assert shown(library) == {"p": ("D",), "q": ("D",), "r": ("D",)}
    assert {key: one[1] for key, one in listed(library).items()} == {"a": 0, "b": 0, "c": 0, "d": 3}


@pytest.mark.parametrize(
    ("merges", "end"),
    [
        ([(["b"], "a"), (["a"], "b")], "b"),
        ([(["a"], "a")], "a"),
        ([(["a", "b"], "a")], "a"),
        ([(["a"], "b"), (["b"], "c"), (["c"], "a")], "a"),
        ([(["a"], "b"), (["b"], "c"), (["a"], "b")], "b"),
        ([(["b"], "c"), (["a"], "b")], "c"),
    ],
)
def test_merging_in_a_circle_ends_well(merges: list[tuple[list[str], str]], end: str) -> None:
    library = library_of(p=["a"], q=["b"], r=["c"])
    for tags, into in merges:
        ops.merge_tags(library, tags, into, at=AT)
    assert shown(library)["p"] == (end,)
    assert View(library).problems == []


STEPS = st.lists(st.tuples(st.sampled_from(["merge", "rename"]), st.sampled_from("abcd"), st.sampled_from("abcdE")), min_size=1, max_size=8)


@given(STEPS)
def test_no_operation_on_one_device_makes_a_circle(steps: list[tuple[str, str, str]]) -> None:
    library = library_of(p=["a"], q=["b"], r=["c"], s=["d"])
    for what, tag, other in steps:
        if what == "merge":
            ops.merge_tags(library, [tag], other, at=AT)
            keys = View(library)
            assert keys.tag_key(tag) == keys.tag_key(other)
        else:
            ops.rename_tag(library, tag, other, at=AT)
            assert View(library).tag_label(tag) == other
    view = View(library)
    assert all(len(prompt.tags) == 1 for prompt in view.prompts())
    view.tags()
    assert view.problems == []


def test_a_tag_is_taken_off_by_any_of_its_names() -> None:
    library = library_of(p=["work", "x"], q=["job", "work"])
    ops.merge_tags(library, ["work"], "Job", at=AT)
    ops.remove_tags(library, "p", ["Job"])
    ops.remove_tags(library, "q", ["work"])
    assert shown(library) == {"p": ("x",), "q": ()}


def test_a_prompt_is_filed_under_these_tags_and_no_others() -> None:
    library = library_of(p=["work", "x"])
    ops.merge_tags(library, ["work"], "Job", at=AT)
    ops.set_tags(library, "p", ["JOB", "new"])
    assert set(library.root(Root.PROMPTS)["p"]["tags"].to_py()) == {"work", "new"}
    assert shown(library) == {"p": ("Job", "new")}
    ops.set_tags(library, "p", [])
    assert shown(library) == {"p": ()}


def test_a_deleted_tag_is_gone_with_what_was_merged_into_it() -> None:
    library = library_of(p=["work", "x"], q=["job"])
    ops.merge_tags(library, ["work"], "Job", at=AT)
    ops.delete_tag(library, "work")
    assert shown(library) == {"p": ("x",), "q": ()}
    assert listed(library) == {"x": ("x", 1, None)}


LINKS = st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from("abcdefgh"))


@given(LINKS)
def test_chains_end_and_circles_at_their_smallest_member(links: dict[str, str]) -> None:
    found = ends(links)
    for start in links:
        trail = [start]
        while trail[-1] in links and links[trail[-1]] not in trail:
            trail.append(links[trail[-1]])
        last = trail[-1]
        if last not in links:
            assert found[start] == last
        else:
            circle = trail[trail.index(links[last]) :]
            assert min(circle) in breaks(links)
            assert found.get(start, start) == min(circle)


@pytest.mark.parametrize("follow", [breaks, ends])
def test_a_long_chain_takes_time_in_proportion(follow: Callable[[dict[str, str]], Any]) -> None:
    follow({str(number): str(number + 1) for number in range(200_000)})
