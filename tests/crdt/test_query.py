"""Prompts are found by what they have, and paged through without loss while others change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt import operations as ops
from crdt.library import Library, Mode, Root
from crdt.operations import NewPrompt, NewVersion
from crdt.query import MAX_LIMIT, MAX_TERMS, UNCATEGORISED, InvalidCursor, Match, Query, Sort, run
from crdt.seed import SEED
from crdt.view import View

AT = 1_764_108_000_000


def made(library: Library, prompt_id: str, **fields: Any) -> None:
    defaults: dict[str, Any] = {"id": prompt_id, "title": prompt_id, "created_at": AT, "device": "d", "order": "a"}
    ops.create_prompt(library, NewPrompt(**defaults | fields))


@pytest.fixture
def library() -> Library:
    library = Library.load(SEED, 5)
    ops.create_category(library, "sub", name="Sub", order="b", at=AT, more={"parent": "cat-writing"})
    ops.create_category(library, "leaf", name="Leaf", order="b", at=AT, more={"parent": "sub"})
    version = NewVersion(
        id="v", text="# 角色：周报助手\nＦｕｌｌ width", kind="optimize", at=AT + 50, device="d", more={"model": "deepseek"}
    )
    made(library, "report", title="Weekly", tags=["Work", "urgent"], category="leaf", version=version, created_at=AT + 1)
    made(library, "poem", description="écrire un POÈME", original="straße", tags=["work"], category="cat-writing", created_at=AT + 2)
    made(library, "code", mode=Mode.PRO_VARIABLE, more={"favorite": True}, category="gone", tags=["job"], created_at=AT + 3)
    made(library, "binned", tags=["work"], more={"pinned": True}, created_at=AT + 4)
    ops.delete_prompt(library, "binned", AT + 9)
    return library


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, {"report", "poem", "code"}),
        ({"deleted": True}, {"binned"}),
        ({"deleted": None}, {"report", "poem", "code", "binned"}),
        ({"tags": ("Work",)}, {"report", "poem"}),
        ({"tags": ("work", "URGENT ")}, {"report"}),
        ({"tags": ("urgent", "job"), "tags_match": Match.ANY}, {"report", "code"}),
        ({"tags": ("none",)}, set()),
        ({"category": "cat-writing"}, {"report", "poem"}),
        ({"category": "sub"}, {"report"}),
        ({"category": "gone"}, set()),
        ({"category": UNCATEGORISED}, {"code"}),
        ({"favorite": True}, {"code"}),
        ({"favorite": False, "pinned": False}, {"report", "poem"}),
        ({"pinned": True, "deleted": None}, {"binned"}),
        ({"mode": Mode.PRO_VARIABLE}, {"code"}),
        ({"model": "deepseek"}, {"report"}),
        ({"created_from": AT + 2}, {"poem", "code"}),
        ({"created_from": AT + 1, "created_to": AT + 3}, {"report", "poem"}),
        ({"updated_from": AT + 50}, {"report"}),
        ({"updated_to": AT + 50}, {"poem", "code"}),
        ({"search": "weekly"}, {"report"}),
        ({"search": "周报"}, {"report"}),
        ({"search": "周报 full WIDTH"}, {"report"}),
        ({"search": "poème"}, {"poem"}),
        ({"search": "STRASSE"}, {"poem"}),
        ({"search": "  work  e "}, {"report", "poem"}),
        ({"search": "weekly poem"}, set()),
        ({"search": "weekly", "deleted": True}, set()),
    ],
)
def test_prompts_are_found_by(library: Library, asked: dict[str, Any], found: set[str]) -> None:
    page = run(View(library), Query(**asked))
    assert {prompt.id for prompt in page.prompts} == found
    assert (page.total, page.next) == (len(found), None)


def test_a_merged_tag_is_found_by_its_old_and_its_new_name(library: Library) -> None:
    view = View(library)
    run(view, Query(search="job"))
    library.edit(lambda: library.root(Root.TAGS).__setitem__("work", {"label": "Work", "merged_into": "job"}))
    for asked in ({"tags": ("work",)}, {"tags": ("Job",)}, {"search": "job"}):
        assert {prompt.id for prompt in run(view, Query(**asked)).prompts} == {"report", "poem", "code"}


def test_categories_in_a_circle_are_found_with_each_other_and_no_end(library: Library) -> None:
    library.edit(lambda: library.root(Root.CATEGORIES)["cat-writing"].__setitem__("parent", "leaf"))  # broken at the smallest id
    view = View(library)
    assert {prompt.id for prompt in run(view, Query(category="cat-writing")).prompts} == {"report", "poem"}
    assert {prompt.id for prompt in run(view, Query(category="leaf")).prompts} == {"report"}


def test_a_search_sees_what_was_typed_meanwhile(library: Library) -> None:
    view = View(library)
    assert run(view, Query(search="sonnet")).total == 0
    ops.edit_original(library, "poem", "a sonnet")
    assert run(view, Query(search="sonnet")).total == 1
    ops.edit_version(library, "v", "a sonnet too")
    assert run(view, Query(search="sonnet")).total == 2


def test_titles_are_sorted_whatever_their_case_and_equal_ones_by_id() -> None:
    library = Library(5)
    for prompt_id, title in (("1", "beta"), ("2", "Alpha"), ("4", "ALPHA"), ("3", "ａlpha"), ("5", "中")):
        made(library, prompt_id, title=title)
    view = View(library)
    for descending in (False, True):
        found = [prompt.id for prompt in run(view, Query(sort=Sort.TITLE, descending=descending)).prompts]
        assert found == (["5", "1", "4", "3", "2"] if descending else ["2", "3", "4", "1", "5"])


def test_a_cursor_belongs_to_its_query(library: Library) -> None:
    view = View(library)
    query = Query(limit=1, sort=Sort.TITLE)
    cursor = run(view, query).next
    assert cursor is not None
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert run(view, Query(limit=2, sort=Sort.TITLE, after=cursor)).total == 3  # another size of pages is the same query
    for other in (
        Query(limit=1, after=cursor),
        Query(sort=Sort.TITLE, descending=False, after=cursor),
        Query(sort=Sort.TITLE, search="x", after=cursor),
    ):
        with pytest.raises(InvalidCursor):
            run(view, other)


@given(
    st.text(max_size=30)
    | st.binary(max_size=30).map(lambda raw: raw.hex())
    | st.sampled_from(["W10", "W1tbW1tb", "bnVsbA", "IiI", "WyJhIiwx"])
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        run(View(Library(5)), Query(after=text))


def test_bounds_are_kept(library: Library) -> None:
    view = View(library)
    for limit in (0, -1, MAX_LIMIT + 1):
        with pytest.raises(ValueError, match="a page holds"):
            run(view, Query(limit=limit))
    with pytest.raises(ValueError, match="a search has"):
        run(view, Query(search=" ".join(map(str, range(MAX_TERMS + 1)))))
    assert run(view, Query(search="work " * 1_000)).total == 2
    made(library, "long", title="x" * 100_000)
    cursor = run(view, Query(sort=Sort.TITLE, limit=1)).next
    assert cursor is not None
    assert len(cursor) < 500


FIELDS = st.fixed_dictionaries(
    {"title": st.sampled_from(["a", "A", "b", "中", ""]), "order": st.sampled_from(["a", "b", "a0"]), "created_at": st.integers(0, 3)}
)
EDITS = st.lists(st.tuples(st.sampled_from(["add", "edit", "delete", "use"]), st.integers(0, 30), FIELDS), max_size=6)


@given(
    st.dictionaries(st.integers(0, 20), FIELDS, max_size=15),
    st.lists(EDITS, min_size=1, max_size=8),
    st.sampled_from(list(Sort)),
    st.booleans(),
    st.integers(1, 4),
)
def test_what_is_left_alone_is_seen_exactly_once_while_all_around_it_changes(
    first: dict[int, dict[str, Any]], rounds: list[list[tuple[str, int, dict[str, Any]]]], sort: Sort, descending: bool, limit: int
) -> None:
    library = Library(5)
    for number, fields in first.items():
        made(library, str(number), **fields)
    view = View(library)
    untouched, seen, after = {str(number) for number in first}, [], None
    for step in range(60):
        page = run(view, Query(sort=sort, descending=descending, limit=limit, after=after))
        seen += [prompt.id for prompt in page.prompts]
        after = page.next
        if after is None:
            break
        for what, number, fields in rounds[step] if step < len(rounds) else ():
            untouched.discard(str(number))
            change(library, what, str(number), fields)
    assert after is None
    assert sorted(prompt_id for prompt_id in seen if prompt_id in untouched) == sorted(untouched)


def change(library: Library, what: str, prompt_id: str, fields: dict[str, Any]) -> None:
    if library.root(Root.PROMPTS).get(prompt_id) is None:
        made(library, prompt_id, **fields)
    elif what == "edit":
        ops.set_fields(library, prompt_id, {"title": fields["title"], "order": fields["order"]})
    elif what == "use":
        ops.count_use(library, prompt_id, "d")
    else:
        ops.delete_prompt(library, prompt_id, AT)
