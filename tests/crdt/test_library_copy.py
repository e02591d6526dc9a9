"""A device's copy of a library: its prompts by the layout, and which of them have changed."""

from __future__ import annotations

from crdt import operations as ops
from crdt.library_copy import LibraryCopy
from crdt.operations import NewPrompt, NewVersion
from crdt.seed import SEED

AT = 1_764_108_000_000


def prompt(prompt_id: str, title: str) -> NewPrompt:
    return NewPrompt(id=prompt_id, title=title, original=f"write {title}", created_at=AT, device="desk", order="a0")


def a_pair() -> tuple[LibraryCopy, LibraryCopy]:
    """Two devices with the seed and a prompt `p`."""
    desk, phone = LibraryCopy(5), LibraryCopy(900)
    desk.apply(SEED)
    ops.create_prompt(desk.library, prompt("p", "Report"))
    phone.apply(desk.dump())
    return desk, phone


def test_prompts_are_shown_with_the_text_that_is_used_and_without_the_bin() -> None:
    desk, phone = a_pair()
    assert (phone.titles(), phone.prompts()) == ({"p": "Report"}, {"p": "write Report"})
    version = NewVersion(id="v", text="# Role: writer", kind="optimize", at=AT, device="desk")
    phone.apply(ops.add_version(desk.library, "p", version))
    assert phone.prompts() == desk.prompts() == {"p": "# Role: writer"}
    phone.apply(ops.delete_prompt(desk.library, "p", AT))
    assert (phone.titles(), phone.prompts()) == ({}, {})


def test_what_changes_is_told_by_title_once() -> None:
    desk, phone = a_pair()
    assert phone.changes() == ({"Report"}, set())
    assert phone.changes() == (set(), set())
    version = NewVersion(id="v", text="hello", kind="edit", at=AT, device="desk")
    for update in (
        ops.add_version(desk.library, "p", version),
        ops.edit_version(desk.library, "v", "hello you"),
        ops.add_tags(desk.library, "p", ["work"]),
        ops.edit_original(desk.library, "p", "write"),
    ):
        phone.apply(update)
        assert phone.changes() == ({"Report"}, set())
    phone.apply(ops.delete_prompt(desk.library, "p", AT))
    assert phone.changes() == (set(), {"Report"})
    phone.apply(ops.restore_prompt(desk.library, "p"))
    assert phone.changes() == ({"Report"}, set())
    phone.apply(ops.set_fields(desk.library, "p", {"title": ""}))
    assert phone.changes() == ({"p"}, set()), "by its id where it has no title"
    phone.apply(ops.purge_prompt(desk.library, "p"))
    assert phone.changes() == (set(), {"p"})


def test_what_is_no_prompt_is_told_of_by_nobody() -> None:
    desk, phone = a_pair()
    phone.changes()
    phone.apply(ops.set_category_fields(desk.library, "cat-writing", {"name": "Prose"}))
    assert phone.changes() == (set(), set())


def test_updates_may_come_in_any_order() -> None:
    desk, phone = a_pair()
    first, second = ops.edit_original(desk.library, "p", "write more"), ops.edit_original(desk.library, "p", "write more of it")
    phone.apply(second)
    assert (phone.waiting, phone.prompts()) == (1, {"p": "write Report"})
    phone.apply(first)
    assert (phone.waiting, phone.prompts()) == (0, {"p": "write more of it"})
