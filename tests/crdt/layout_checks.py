"""What must be left of the scenarios of layout_scenarios.py when both sides have met."""

from __future__ import annotations

from collections.abc import Callable

from crdt.library import Root
from crdt.shown import FullPrompt
from crdt.view import View

AT = 1_764_108_000_000
TYPED = "keystrokes 键 " * 800
"""10,400 characters, 12,000 bytes, typed one by one."""


def shown(view: View, prompt_id: str = "p") -> FullPrompt:
    found = view.full(prompt_id)
    assert found is not None
    assert view.problems == []
    return found


def tags_are(*tags: str) -> Callable[[View], None]:
    def check(view: View) -> None:
        assert shown(view).prompt.tags == tuple(sorted(tags))

    return check


def text_is(version_id: str, *texts: str) -> Callable[[View], None]:
    def check(view: View) -> None:
        assert view.text(version_id) in texts
        assert view.problems == []

    return check


def both_versions(view: View) -> None:
    versions = view.versions("p")
    assert [(each.number, each.id) for each in versions] == [(1, "v2"), (2, "v1"), (3, "va"), (4, "vb")]
    assert (view.text("va"), view.text("vb")) == ("RESULT A", "RESULT B")
    assert shown(view).prompt.current in ("va", "vb")
    assert shown(view).optimized in ("RESULT A", "RESULT B")


def optimised_and_typed(view: View) -> None:
    found = shown(view)
    assert (found.prompt.current, found.optimized) == ("va", "RESULT A")
    assert view.text("v2") == "Write a weekly report, typed. 用中文 🙂."


def binned_and_readable(view: View) -> None:
    found = shown(view)
    assert found.prompt.deleted_at == AT + 1
    assert found.original == "KEEP write 周报 🙂 now"


def deleted_or_not(view: View) -> None:
    assert shown(view).prompt.deleted_at in (None, AT + 5)
    assert shown(view).original == "KEEP write 周报 🙂 now"


def both_imported(view: View) -> None:
    imported = [each for each in view.prompts() if each.source == {"import_key": "fav:1"}]
    assert {each.id for each in imported} == {"i1", "i2"}
    assert {view.text(each.current) for each in imported} == {"content"}


def all_of_one(view: View) -> None:
    found = shown(view, "i")
    assert (found.prompt.tags, found.original) in ((("a",), "A"), (("b",), "B"))


def uncategorised(view: View) -> None:
    assert shown(view).prompt.category is None
    assert view.library.root(Root.PROMPTS)["p"]["category"] == "c"


def circle_broken(view: View) -> None:
    parents = {each.id: each.parent for each in view.categories()}
    assert (parents["c"], parents["cat-writing"]) == (None, "c")
    assert view.problems == ["categories/c: its parents lead in a circle"]


def both_moved(view: View) -> None:
    assert [(each.order, each.id) for each in sorted(view.prompts(), key=lambda each: (each.order, each.id))] == [("Zz", "q"), ("a5", "p")]


def one_of_two_places(view: View) -> None:
    assert shown(view).prompt.order in ("a5", "a9")


def all_counted(view: View) -> None:
    assert shown(view).prompt.uses == 3


def label_of_one(view: View) -> None:
    labels = shown(view).prompt.labels
    assert labels["production"] in ("v1", "v2")
    assert (labels["here"], labels["there"]) == ("v1", "v2")


def model_merged(view: View) -> None:
    (model,) = view.models()
    assert (model.enabled, model.params, model.name) == (True, {"temperature": 0.5}, "M")


def rest_merged(view: View) -> None:
    (template,), (context,) = view.templates(), view.contexts()
    assert (template.name, template.content) == ("T2", "y")
    assert (context.title, context.messages) == ("K2", [{"role": "user"}])
    assert view.preferences() == {"theme": "dark", "lang": "zh"}
    assert (view.device_prefs("here"), view.device_prefs("there")) == ({"panel": 1}, {"panel": 2})
    assert view.variables() == {"a": "1", "b": "2"}


def purged(view: View) -> None:
    assert view.prompt("p") is None
    assert view.versions("p") == []
    view.prompts()
    assert view.problems == []


def version_destroyed(view: View) -> None:
    found = shown(view)
    assert [each.id for each in view.versions("p")] == ["v2"]
    assert (found.prompt.current, found.prompt.labels) == ("v2", {})  # both name what is gone
    assert found.optimized == "Write a weekly report. 用中文 🙂."
    assert "v1" not in view.library.root(Root.TEXTS)


def made_of_what_is_destroyed(view: View) -> None:
    found = shown(view)
    assert [(each.id, each.parent) for each in view.versions("p")] == [("v2", "v1"), ("v3", "v1")]
    assert (found.prompt.current, found.optimized) == ("v3", "three")


def restored_and_typed(view: View) -> None:
    found = shown(view)
    assert (found.prompt.current, found.optimized) == ("va", "Write a report.")
    assert view.text("v2") == "Write a weekly report, typed. 用中文 🙂."
    assert view.text("v1") == "Write a report."


def one_name_for_all(view: View) -> None:
    (tag,) = shown(view).prompt.tags
    assert tag in ("Job", "Task")
    assert {each.label for each in view.tags() if each.count} == {tag}


def merged_at_the_smaller(view: View) -> None:
    (tags,) = {each.tags for each in view.prompts() if each.tags}
    assert tags == ("job",)
    assert view.problems == ["tags/job: merged in a circle"]


def typed_through(view: View) -> None:
    assert view.text("w1") == TYPED
    assert shown(view).prompt.title == "typed meanwhile"


def both_filed(view: View, tag: str) -> None:
    assert shown(view, "p").prompt.tags == shown(view, "q").prompt.tags == (tag,)


def original_is(view: View, text: str) -> None:
    assert shown(view).original == text


def numbered(view: View, versions: list[str]) -> None:
    assert [(each.number, each.id) for each in view.versions("q")] == list(enumerate(versions, 1))
    assert shown(view, "q").prompt.current in versions[1:]
    assert {view.text("w2"), view.text("w3")} == {"two", "zwei"}


def fields(view: View) -> None:
    found = shown(view).prompt
    assert (found.favorite, found.category) == (True, "cat-writing")
    assert found.title in ("A", "B")
