"""What two devices do apart, and what must be left of it when it meets: each row of the layout.

`here` is done by our operations; `there` is the same as another device does it, once by our operations and once, as `steps`, by yjs.
Each scenario is run with either side having the higher client id: among concurrent writes to one key Yjs keeps that of the higher one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from crdt import operations as ops
from crdt.library import Library, Root
from crdt.operations import NewPrompt, NewVersion
from crdt.seed import SEED
from crdt.view import View
from tests.crdt import layout_checks as checks
from tests.crdt.layout_checks import AT, TYPED

LOW, HIGH = 1_000, 4_000_000_000
Step = list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Both sides begin with `filled()`."""

    name: str
    here: Callable[[Library], object]
    there: Callable[[Library], object]
    steps: Sequence[Step]
    """`there` as yjs does it: see layout_device.mjs."""
    check: Callable[[View], None]
    most_bytes: int = 1_000
    """How much each side may write."""


def version(version_id: str, text: str, **fields: Any) -> NewVersion:
    made: dict[str, Any] = {"id": version_id, "text": text, "kind": "optimize", "at": AT + 10, "device": "d", "parent": "v2"}
    return NewVersion(**made | fields)


def prompt(prompt_id: str, **fields: Any) -> NewPrompt:
    made: dict[str, Any] = {"id": prompt_id, "title": "Weekly report", "created_at": AT, "device": "d", "order": "a0"}
    return NewPrompt(**made | fields)


def filled() -> Library:
    """Two prompts, one of them with two versions, a category of its own, and one of all the rest."""
    library = Library.load(SEED, 77)
    ops.create_category(library, "c", name="Mine", order="b0", at=AT)
    ops.create_prompt(
        library, prompt("p", tags=["Work"], original="write 周报 🙂 now", version=version("v1", "Write a report.", parent=None))
    )
    ops.add_version(library, "p", version("v2", "Write a weekly report. 用中文 🙂.", parent="v1", at=AT + 1))
    ops.create_prompt(library, prompt("q", order="a1", version=version("w1", "")))
    ops.count_use(library, "p", "import")
    for tag in ("work", "job"):
        ops.register_tag(library, tag, at=AT)
    ops.create_template(library, "t", {"name": "T", "content": "x"}, at=AT)
    ops.create_context(library, "k", {"title": "K"}, at=AT)
    ops.set_model_fields(library, "m", {"name": "M", "enabled": False, "params": {}})
    return library


def version_steps(prompt_id: str, version_id: str, text: str, at: int) -> list[Step]:
    fields = {"prompt": prompt_id, "parent": "v2", "kind": "optimize", "note": "", "device": "js", "at": at}
    return [
        ["set", ["versions", version_id], fields],
        ["text", ["texts", version_id], text],
        ["set", ["prompts", prompt_id, "current"], version_id],
    ]


def edit_in(library: Library, *operations: Callable[[Library], object]) -> bytes:
    """Several operations as one edit."""
    return library.edit(lambda: [operation(library) for operation in operations])


def keystrokes(library: Library) -> None:
    text = library.root(Root.TEXTS)["w1"]
    for character in TYPED:
        library.edit(partial(text.insert, len(text), character))


SCENARIOS: list[Scenario] = [
    Scenario(
        name="tag add/add",
        here=lambda one: ops.add_tags(one, "p", [" Urgent "]),
        there=lambda one: ops.add_tags(one, "p", ["中文", "urgent"]),
        steps=[["set", ["prompts", "p", "tags", "中文"], True], ["set", ["prompts", "p", "tags", "urgent"], True]],
        check=checks.tags_are("work", "urgent", "中文"),
    ),
    Scenario(
        name="tag remove/re-add: adding wins",
        here=lambda one: ops.remove_tags(one, "p", ["Work"]),
        there=lambda one: edit_in(one, lambda one: ops.remove_tags(one, "p", ["work"]), lambda one: ops.add_tags(one, "p", ["work"])),
        steps=[["remove", ["prompts", "p", "tags", "work"]], ["set", ["prompts", "p", "tags", "work"], True]],
        check=checks.tags_are("work"),
    ),
    Scenario(
        name="tag renamed while another device files under the old name",
        here=lambda one: ops.rename_tag(one, "work", "Job", at=AT),
        there=lambda one: ops.add_tags(one, "q", ["work"]),
        steps=[["set", ["prompts", "q", "tags", "work"], True]],
        check=lambda view: checks.both_filed(view, "Job"),
    ),
    Scenario(
        name="tag renamed on both",
        here=lambda one: ops.rename_tag(one, "work", "Job", at=AT),
        there=lambda one: ops.rename_tag(one, "work", "Task", at=AT),
        steps=[
            ["set", ["tags", "work"], {"label": "work", "created_at": AT, "merged_into": "task"}],
            ["set", ["tags", "task"], {"label": "Task", "created_at": AT}],
        ],
        check=checks.one_name_for_all,
    ),
    Scenario(
        name="tags merged into each other",
        here=lambda one: ops.merge_tags(one, ["work"], "job", at=AT),
        there=lambda one: ops.merge_tags(one, ["job"], "work", at=AT),
        steps=[["set", ["tags", "job"], {"label": "job", "created_at": AT, "merged_into": "work"}]],
        check=checks.merged_at_the_smaller,
    ),
    Scenario(
        name="type/type",
        here=lambda one: ops.edit_version(one, "v2", "# Role\nWrite a weekly report. 用中文 🙂."),
        there=lambda one: ops.edit_version(one, "v2", "Write a weekly report. 用中文 🙂. Use JSON."),
        steps=[["type", ["texts", "v2"], None, " Use JSON."]],
        check=checks.text_is("v2", "# Role\nWrite a weekly report. 用中文 🙂. Use JSON."),
    ),
    Scenario(
        name="type/type between the same characters",
        here=lambda one: ops.edit_version(one, "v2", "Write a weekly report. 用英文和中文 🙂."),
        there=lambda one: ops.edit_version(one, "v2", "Write a weekly report. 用👩‍💻中文 🙂."),
        steps=[["type", ["texts", "v2"], "中文", "👩‍💻"]],
        check=checks.text_is("v2", "Write a weekly report. 用英文和👩‍💻中文 🙂.", "Write a weekly report. 用👩‍💻英文和中文 🙂."),
    ),
    Scenario(
        name="CJK and emoji replaced here while another types beside them",
        here=lambda one: ops.edit_original(one, "p", "write 月报 🙃 now"),
        there=lambda one: ops.edit_original(one, "p", "请 write 周报 🙂 right now 🚀"),
        steps=[
            ["type", ["prompts", "p", "original"], 0, "请 "],
            ["type", ["prompts", "p", "original"], "now", "right "],
            ["type", ["prompts", "p", "original"], None, " 🚀"],
        ],
        check=lambda view: checks.original_is(view, "请 write 月报 🙃 right now 🚀"),
    ),
    Scenario(
        name="optimise/optimise",
        here=lambda one: ops.add_version(one, "p", version("va", "RESULT A")),
        there=lambda one: ops.add_version(one, "p", version("vb", "RESULT B", at=AT + 11)),
        steps=version_steps("p", "vb", "RESULT B", AT + 11),
        check=checks.both_versions,
    ),
    Scenario(
        name="optimise/type",
        here=lambda one: ops.add_version(one, "p", version("va", "RESULT A")),
        there=lambda one: ops.edit_version(one, "v2", "Write a weekly report, typed. 用中文 🙂."),
        steps=[["type", ["texts", "v2"], ". 用", ", typed"]],
        check=checks.optimised_and_typed,
    ),
    Scenario(
        name="second version/second version",
        here=lambda one: ops.add_version(one, "q", version("w2", "two", parent="w1", at=AT + 20)),
        there=lambda one: ops.add_version(one, "q", version("w3", "zwei", parent="w1", at=AT + 20)),
        steps=version_steps("q", "w3", "zwei", AT + 20),
        check=lambda view: checks.numbered(view, ["w1", "w2", "w3"]),
    ),
    Scenario(
        name="delete/edit",
        here=lambda one: ops.delete_prompt(one, "p", AT + 1),
        there=lambda one: ops.edit_original(one, "p", "KEEP write 周报 🙂 now"),
        steps=[["type", ["prompts", "p", "original"], 0, "KEEP "]],
        check=checks.binned_and_readable,
    ),
    Scenario(
        name="restore/delete",
        here=lambda one: edit_in(one, lambda one: ops.delete_prompt(one, "p", AT + 1), lambda one: ops.restore_prompt(one, "p")),
        there=lambda one: edit_in(
            one, lambda one: ops.delete_prompt(one, "p", AT + 5), lambda one: ops.edit_original(one, "p", "KEEP write 周报 🙂 now")
        ),
        steps=[["set", ["prompts", "p", "deleted_at"], AT + 5], ["type", ["prompts", "p", "original"], 0, "KEEP "]],
        check=checks.deleted_or_not,
    ),
    Scenario(
        name="one file imported on both",
        here=lambda one: ops.create_prompt(one, prompt("i1", version=version("iv1", "content"), more={"source": {"import_key": "fav:1"}})),
        there=lambda one: ops.create_prompt(one, prompt("i2", version=version("iv2", "content"), more={"source": {"import_key": "fav:1"}})),
        steps=[
            ["map", ["prompts", "i2"], {"title": "Weekly report", "mode": "basic-system", "source": {"import_key": "fav:1"}}],
            ["map", ["prompts", "i2", "tags"], {}],
            ["text", ["prompts", "i2", "original"], ""],
            *version_steps("i2", "iv2", "content", AT),
        ],
        check=checks.both_imported,
    ),
    Scenario(
        name="one id made on both: all of one of them",
        here=lambda one: ops.create_prompt(one, prompt("i", tags=["a"], original="A")),
        there=lambda one: ops.create_prompt(one, prompt("i", tags=["b"], original="B")),
        steps=[
            ["map", ["prompts", "i"], {"title": "Weekly report"}],
            ["map", ["prompts", "i", "tags"], {"b": True}],
            ["text", ["prompts", "i", "original"], "B"],
        ],
        check=checks.all_of_one,
    ),
    Scenario(
        name="category deleted/filed into",
        here=lambda one: ops.delete_category(one, "c", AT),
        there=lambda one: ops.set_fields(one, "p", {"category": "c"}),
        steps=[["set", ["prompts", "p", "category"], "c"]],
        check=checks.uncategorised,
    ),
    Scenario(
        name="categories put below each other",
        here=lambda one: ops.set_category_fields(one, "c", {"parent": "cat-writing"}),
        there=lambda one: ops.set_category_fields(one, "cat-writing", {"parent": "c"}),
        steps=[["set", ["categories", "cat-writing", "parent"], "c"]],
        check=checks.circle_broken,
    ),
    Scenario(
        name="reorder/reorder",
        here=lambda one: ops.set_fields(one, "p", {"order": "a5"}),
        there=lambda one: ops.set_fields(one, "q", {"order": "Zz"}),
        steps=[["set", ["prompts", "q", "order"], "Zz"]],
        check=checks.both_moved,
    ),
    Scenario(
        name="reorder/reorder of the same",
        here=lambda one: ops.set_fields(one, "p", {"order": "a5"}),
        there=lambda one: ops.set_fields(one, "p", {"order": "a9"}),
        steps=[["set", ["prompts", "p", "order"], "a9"]],
        check=checks.one_of_two_places,
    ),
    Scenario(
        name="+1/+1",
        here=lambda one: ops.count_use(one, "p", "a"),
        there=lambda one: ops.count_use(one, "p", "b"),
        steps=[["set", ["uses", "p/b"], 1]],
        check=checks.all_counted,
    ),
    Scenario(
        name="different fields, and one field",
        here=lambda one: ops.set_fields(one, "p", {"title": "A", "favorite": True}),
        there=lambda one: ops.set_fields(one, "p", {"title": "B", "category": "cat-writing"}),
        steps=[["set", ["prompts", "p", "title"], "B"], ["set", ["prompts", "p", "category"], "cat-writing"]],
        check=lambda view: checks.fields(view),
    ),
    Scenario(
        name="labels moved",
        here=lambda one: edit_in(
            one, lambda one: ops.label_version(one, "p", "production", "v1"), lambda one: ops.label_version(one, "p", "here", "v1")
        ),
        there=lambda one: edit_in(
            one, lambda one: ops.label_version(one, "p", "production", "v2"), lambda one: ops.label_version(one, "p", "there", "v2")
        ),
        steps=[["set", ["labels", "p/production"], "v2"], ["set", ["labels", "p/there"], "v2"]],
        check=checks.label_of_one,
    ),
    Scenario(
        name="a model enabled/its parameters",
        here=lambda one: ops.set_model_fields(one, "m", {"enabled": True}),
        there=lambda one: ops.set_model_fields(one, "m", {"params": {"temperature": 0.5}}),
        steps=[["set", ["models", "m/params"], {"temperature": 0.5}]],
        check=checks.model_merged,
    ),
    Scenario(
        name="templates, contexts, preferences and variables",
        here=lambda one: edit_in(
            one,
            lambda one: ops.set_template_fields(one, "t", {"name": "T2"}, at=AT + 1),
            lambda one: ops.set_context_fields(one, "k", {"title": "K2"}, at=AT + 1),
            lambda one: ops.merge_preferences(one, {"theme": "dark"}),
            lambda one: ops.merge_device_prefs(one, "here", {"panel": 1}),
            lambda one: ops.set_variable(one, "a", "1"),
        ),
        there=lambda one: edit_in(
            one,
            lambda one: ops.set_template_fields(one, "t", {"content": "y"}, at=AT + 2),
            lambda one: ops.set_context_fields(one, "k", {"messages": [{"role": "user"}]}, at=AT + 2),
            lambda one: ops.merge_preferences(one, {"lang": "zh"}),
            lambda one: ops.merge_device_prefs(one, "there", {"panel": 2}),
            lambda one: ops.set_variable(one, "b", "2"),
        ),
        steps=[
            ["set", ["templates", "t", "content"], "y"],
            ["set", ["contexts", "k", "messages"], [{"role": "user"}]],
            ["set", ["prefs", "lang"], "zh"],
            ["set", ["device_prefs", "there/panel"], 2],
            ["set", ["variables", "b"], "2"],
        ],
        check=checks.rest_merged,
    ),
    Scenario(
        name="purged by the server while another edits",
        here=lambda one: ops.purge_prompt(one, "p"),
        there=lambda one: edit_in(
            one, lambda one: ops.edit_version(one, "v2", "typed"), lambda one: ops.set_fields(one, "p", {"title": "x"})
        ),
        steps=[["type", ["texts", "v2"], 0, "typed"], ["set", ["prompts", "p", "title"], "x"]],
        check=checks.purged,
    ),
    Scenario(
        name="version destroyed by the server while another types into it and uses it",
        here=lambda one: ops.remove_version(one, "p", "v1"),
        there=lambda one: edit_in(
            one,
            lambda one: ops.edit_version(one, "v1", "typed Write a report."),
            lambda one: ops.label_version(one, "p", "production", "v1"),
            lambda one: ops.choose_version(one, "p", "v1"),
        ),
        steps=[
            ["type", ["texts", "v1"], 0, "typed "],
            ["set", ["labels", "p/production"], "v1"],
            ["set", ["prompts", "p", "current"], "v1"],
        ],
        check=checks.version_destroyed,
    ),
    Scenario(
        name="version destroyed by the server while another makes one from it",
        here=lambda one: ops.remove_version(one, "p", "v1"),
        there=lambda one: ops.add_version(one, "p", version("v3", "three", parent="v1", at=AT + 2)),
        steps=[
            ["set", ["versions", "v3"], {"prompt": "p", "parent": "v1", "kind": "optimize", "note": "", "device": "js", "at": AT + 2}],
            ["text", ["texts", "v3"], "three"],
            ["set", ["prompts", "p", "current"], "v3"],
        ],
        check=checks.made_of_what_is_destroyed,
    ),
    Scenario(
        name="restored as a new version while another types into the current one",
        here=lambda one: ops.add_version(one, "p", version("va", "Write a report.", parent="v1", kind="restore")),
        there=lambda one: ops.edit_version(one, "v2", "Write a weekly report, typed. 用中文 🙂."),
        steps=[["type", ["texts", "v2"], ". 用", ", typed"]],
        check=checks.restored_and_typed,
    ),
    Scenario(
        name="10,000 keystrokes",
        here=lambda one: ops.set_fields(one, "p", {"title": "typed meanwhile"}),
        there=keystrokes,
        steps=[["keystrokes", ["texts", "w1"], TYPED]],
        check=checks.typed_through,
        most_bytes=13_000,
    ),
]
