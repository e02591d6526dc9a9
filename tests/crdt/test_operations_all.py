"""What holds for every operation: checked before it writes, writing no more than changes, and several making one update."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt import operations as ops
from crdt.errors import CrdtError
from crdt.library import Library, Root
from crdt.operations import Exists, IsCurrent, Missing, NewPrompt, NewVersion
from crdt.plain import MAX_INTEGER
from crdt.seed import SEED
from crdt.updates import EMPTY_UPDATE
from crdt.updates import inspect as inspect_update
from crdt.view import View

AT = 1_764_108_000_000
KEY_REF = {"mode": "server", "secret_id": "s", "hint": "...abcd"}


def version(version_id: str, **fields: Any) -> NewVersion:
    made: dict[str, Any] = {"id": version_id, "text": "# Role", "kind": "optimize", "at": AT, "device": "d"}
    return NewVersion(**made | fields)


def prompt(prompt_id: str, **fields: Any) -> NewPrompt:
    made: dict[str, Any] = {"id": prompt_id, "title": "t", "created_at": AT, "device": "d", "order": "a0", "tags": ["Work"]}
    return NewPrompt(**made | fields)


@pytest.fixture
def library() -> Library:
    return filled()


def filled() -> Library:
    library = Library.load(SEED, 5)
    ops.create_prompt(library, prompt("p", version=version("v1"), original="one 中文"))
    ops.register_tag(library, "Work", at=AT)
    ops.create_template(library, "t", {"name": "n", "content": [{"role": "user", "content": "x"}]}, at=AT)
    ops.create_context(library, "c", {"title": "n", "messages": [{"role": "user"}]}, at=AT)
    ops.set_model_fields(library, "m", {"enabled": True, "params": {"temperature": 1, "stop": ["a"]}, "key_ref": KEY_REF})
    ops.set_variable(library, "who", "you")
    ops.merge_preferences(library, {"ui": {"theme": "dark", "size": 1}, "flag": True, "one": 1})
    ops.merge_device_prefs(library, "d", {"ui": {"panel": 2}})
    return library


def content(library: Library) -> dict[Root, Any]:
    return {root: library.root(root).to_py() for root in Root}


# --- the same again writes nothing

AGAIN: list[Callable[[Library], bytes]] = [
    lambda library: ops.set_fields(library, "p", {"variables": {"n": 1, "f": 1.5, "b": True, "l": [1, None]}, "touched_at": AT}),
    lambda library: ops.set_fields(library, "p", {"title": "x", "favorite": True, "category": None, "messages": [{"n": 2}]}),
    lambda library: ops.add_tags(library, "p", ["x", " X"]),
    lambda library: ops.remove_tags(library, "p", ["work"]),
    lambda library: ops.set_tags(library, "p", ["x", "y"]),
    lambda library: ops.edit_original(library, "p", "one 文 two"),
    lambda library: ops.edit_version(library, "v1", "# Role: poet"),
    lambda library: ops.choose_version(library, "p", "v1"),
    lambda library: ops.label_version(library, "p", "l", "v1"),
    lambda library: ops.delete_prompt(library, "p", AT + 1),
    lambda library: ops.restore_prompt(library, "p"),
    lambda library: ops.set_category_fields(library, "cat-writing", {"name": "W", "parent": "cat-images"}),
    lambda library: ops.delete_category(library, "cat-writing", AT),
    lambda library: ops.restore_category(library, "cat-writing"),
    lambda library: ops.register_tag(library, "other", at=AT, color="#fff"),
    lambda library: ops.rename_tag(library, "work", "Job", at=AT),
    lambda library: ops.rename_tag(library, "work", "WORK", at=AT),
    lambda library: ops.merge_tags(library, ["work"], "job", at=AT),
    lambda library: ops.set_tag_color(library, "work", "#000", at=AT),
    lambda library: ops.set_template_fields(library, "t", {"content": [{"n": 1}]}, at=AT + 1),
    lambda library: ops.delete_template(library, "t", AT),
    lambda library: ops.restore_template(library, "t"),
    lambda library: ops.set_context_fields(library, "c", {"variables": {"a": 1}}, at=AT + 1),
    lambda library: ops.delete_context(library, "c", AT),
    lambda library: ops.restore_context(library, "c"),
    lambda library: ops.set_model_fields(library, "m", {"enabled": False, "params": {"temperature": 0}}),
    lambda library: ops.set_variable(library, "who", "me"),
    lambda library: ops.merge_preferences(library, {"ui": {"size": 2, "theme": None}, "gone": None, "new": {"a": None, "b": [1, 2.5]}}),
    lambda library: ops.merge_device_prefs(library, "d", {"ui": {"panel": 3}}),
    lambda library: ops.add_preferences(library, {"ui": {"theme": "light"}, "new": {"a": None}}),
    lambda library: ops.add_device_prefs(library, "d", {"ui": 1, "new": 2}),
    lambda library: ops.add_examples(library, "p", {"e": {"input": "x"}}),
    lambda library: ops.raise_uses(library, "p", {"d": 3}),
    lambda library: ops.restore_tag(library, "job", "Job", at=AT, color="#fff", merged_into="work"),
]


@pytest.mark.parametrize("operation", AGAIN)
def test_the_same_again_writes_nothing(library: Library, operation: Callable[[Library], bytes]) -> None:
    operation(library)
    before = library.content()
    assert operation(library) == EMPTY_UPDATE
    assert library.content() == before


def test_what_is_added_beside_what_is_there_changes_none_of_it(library: Library) -> None:
    ops.add_preferences(library, {"ui": {"theme": "light"}, "new": {"a": None}})
    ops.add_device_prefs(library, "d", {"ui": 1, "new": 2})
    ops.count_use(library, "p", "d")
    ops.raise_uses(library, "p", {"d": 1, "e": 5})
    ops.raise_uses(library, "p", {"e": 4})
    for example in ("first", "second"):
        ops.add_examples(library, "p", {"e": example})
    ops.restore_tag(library, "Work", "other", at=AT, merged_into="job")
    view = View(library)
    assert view.preferences() == {"ui": {"theme": "dark", "size": 1}, "flag": True, "one": 1, "new": {"a": None}}
    assert view.device_prefs("d") == {"ui": {"panel": 2}, "new": 2}
    found = view.full("p")
    assert found is not None
    assert (found.examples, found.prompt.uses, found.prompt.tags) == ({"e": "first"}, 6, ("Work",))


def test_a_prompt_is_made_with_its_past_at_once(library: Library) -> None:
    past = [version("w1", at=AT), version("w2", at=AT + 1, parent="w1")]
    made = prompt("q", history=past, version=version("w3", at=AT + 2), examples={"e": 1}, deleted_at=AT + 9, more={"touched_at": AT + 3})
    other = Library.load(library.content(), 9)
    other.apply(ops.create_prompt(library, made))
    found = View(other).full("q")
    assert found is not None
    assert (found.prompt.current, found.prompt.versions, found.examples) == ("w3", 3, {"e": 1})
    assert (found.prompt.deleted_at, found.prompt.touched_at) == (AT + 9, AT + 3)
    assert [each.id for each in View(other).versions("q")] == ["w1", "w2", "w3"]


def test_true_is_another_value_than_one(library: Library) -> None:
    assert ops.merge_preferences(library, {"one": 1, "flag": True}) == EMPTY_UPDATE
    ops.merge_preferences(library, {"one": True, "flag": 1})
    found = View(library).preferences()
    assert (found["one"], found["flag"]) == (True, 1)
    assert isinstance(found["one"], bool)
    assert not isinstance(found["flag"], bool)


# --- several make one update


def test_several_within_an_edit_make_one_update_and_none_of_their_own(library: Library) -> None:
    other, inner = Library.load(library.content(), 9), []

    def change() -> None:
        inner.append(ops.create_prompt(library, prompt("q")))
        inner.append(ops.add_version(library, "q", version("w1")))  # sees what was made before it
        inner.append(ops.register_tag(library, "new", at=AT))
        inner.append(library.edit(lambda: ops.set_fields(library, "q", {"title": "Q"})))

    update = library.edit(change)
    assert inner == [EMPTY_UPDATE] * 4
    inspect_update(update)
    other.apply(update)
    assert content(other) == content(library)
    found = View(other).prompt("q")
    assert found is not None
    assert (found.title, found.current) == ("Q", "w1")
    assert ops.set_fields(library, "q", {"title": "later"}) != EMPTY_UPDATE


def test_an_edit_after_one_that_raised_returns_its_update(library: Library) -> None:
    with pytest.raises(Missing):
        library.edit(lambda: ops.set_fields(library, "none", {"title": "x"}))
    assert ops.set_fields(library, "p", {"title": "x"}) != EMPTY_UPDATE


# --- nothing is written before everything is checked

ANY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=4),
    st.sampled_from(["p", "v1", "t", "c", "m", "d", "work", "cat-writing", "\ud800", "a/b", ""]),
    st.dictionaries(
        st.sampled_from(["title", "name", "content", "enabled", "ui", "\ud800"]) | st.integers(), st.integers() | st.text(max_size=3)
    ),
    st.lists(st.sampled_from(["v1", "work", "\ud800", "", 1, b"x", {1}]), max_size=3),
    st.just(10**400),
    st.just(b"bytes"),
    st.just({1, 2}),
)
IDS = st.text(st.characters(), max_size=3) | st.sampled_from(["p", "v1", "t", "c", "m", "d", "work", "cat-writing", "who", "\ud800"])
FUNCTIONS = [getattr(ops, name) for name in ops.__all__ if inspect.isfunction(getattr(ops, name))]
OPERATIONS = [function for function in FUNCTIONS if inspect.signature(function).return_annotation == "bytes"]
"""What answers an update; the others only read."""


def arguments(operation: Callable[..., bytes], draw: Callable[[Any], Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(operation).parameters.items())[1:]:
        if name == "prompt":
            made[name] = prompt(
                draw(IDS), title=draw(ANY), tags=draw(st.just(["a"]) | st.lists(IDS, max_size=2)), more=draw(st.just({}) | FIELDS)
            )
        elif name == "version":
            made[name] = version(draw(IDS), text=draw(ANY), at=draw(ANY), more=draw(st.just({}) | FIELDS))
        elif name in ("fields", "patch", "more"):
            made[name] = draw(FIELDS)
        elif parameter.annotation == "Collection[str]":
            made[name] = draw(st.lists(IDS, max_size=3))
        elif name == "at":
            made[name] = draw(st.just(AT) | ANY)
        elif parameter.default is inspect.Parameter.empty or draw(st.booleans()):
            made[name] = draw({"str": IDS, "str | None": st.none() | IDS}.get(parameter.annotation, ANY))
    return made


FIELDS = st.dictionaries(
    st.sampled_from(["title", "variables", "name", "content", "messages", "enabled", "params", "key_ref", "model", "ui", "x"]),
    ANY,
    max_size=3,
)


@given(st.sampled_from(OPERATIONS), st.data())
def test_whatever_it_is_given_an_operation_writes_or_raises_and_never_both(operation: Callable[..., bytes], data: st.DataObject) -> None:
    library = filled()
    before = library.content()
    try:
        update = operation(library, **arguments(operation, data.draw))
    except (CrdtError, ValueError):
        assert library.content() == before
        return
    inspect_update(update)
    other = Library.load(before)
    other.apply(update)
    assert content(other) == content(library)
    assert not [problem for problem in View(library).problems if "not" in problem]


@pytest.mark.parametrize(
    "operation",
    [
        lambda library: ops.create_prompt(library, prompt("p")),
        lambda library: ops.create_prompt(library, prompt("q", version=version("v1"))),
        lambda library: ops.create_prompt(library, prompt("q", history=[version("v2"), version("v1")])),
        lambda library: ops.create_prompt(library, prompt("q", history=[version("v2")], version=version("v2"))),
        lambda library: ops.add_version(library, "p", version("v1")),
        lambda library: ops.create_category(library, "cat-writing", name="x", order="a", at=AT),
        lambda library: ops.create_template(library, "t", {}, at=AT),
        lambda library: ops.create_context(library, "c", {}, at=AT),
    ],
)
def test_what_is_there_is_not_made_again(library: Library, operation: Callable[[Library], bytes]) -> None:
    before = library.content()
    with pytest.raises(Exists):
        operation(library)
    assert library.content() == before


@pytest.mark.parametrize(
    "operation",
    [
        lambda library: ops.rename_tag(library, "none", "x", at=AT),
        lambda library: ops.merge_tags(library, ["none"], "work", at=AT),
        lambda library: ops.set_tag_color(library, "none", None, at=AT),
        lambda library: ops.delete_tag(library, "none"),
        lambda library: ops.set_template_fields(library, "none", {}, at=AT),
        lambda library: ops.delete_context(library, "none", AT),
        lambda library: ops.delete_variable(library, "none"),
        lambda library: ops.remove_model(library, "none"),
        lambda library: ops.restore_prompt(library, "none"),
        lambda library: ops.remove_version(library, "p", "none"),
        lambda library: ops.remove_version(library, "none", "v1"),
    ],
)
def test_what_is_not_there_is_missing(library: Library, operation: Callable[[Library], bytes]) -> None:
    with pytest.raises(Missing):
        operation(library)


@pytest.mark.parametrize(
    "operation",
    [
        lambda library: ops.set_fields(library, "p", {"title": "ok", "favorite": 1}),
        lambda library: ops.set_fields(library, "p", {"title": "ok", "deleted_at": 1}),
        lambda library: ops.set_fields(library, "p", {"mode": "none"}),
        lambda library: ops.set_fields(library, "p", {"variables": {"a": float("nan")}}),
        lambda library: ops.set_fields(library, "p", {"source": "\ud800"}),
        lambda library: ops.edit_original(library, "p", "\udfff"),
        lambda library: ops.add_tags(library, "p", ["ok", "  "]),
        lambda library: ops.create_prompt(library, prompt("a/b")),
        lambda library: ops.create_prompt(library, prompt("")),
        lambda library: ops.create_prompt(library, prompt("q", more={"api_key": "x"})),
        lambda library: ops.add_version(library, "p", version("v2", more={"prompt": "other"})),
        lambda library: ops.set_model_fields(library, "m", {"name": "ok", "api_key": "sk-secret"}),
        lambda library: ops.set_model_fields(library, "m", {"key_ref": "sk-secret"}),
        lambda library: ops.set_model_fields(library, "m", {"key_ref": KEY_REF | {"key": "sk-secret"}}),
        lambda library: ops.set_category_fields(library, "cat-writing", {"parent": "cat-writing"}),
        lambda library: ops.merge_device_prefs(library, "a/b", {"x": 1}),
        lambda library: ops.add_device_prefs(library, "a/b", {"x": 1}),
        lambda library: ops.add_preferences(library, {"ok": 1, "x": float("inf")}),
        lambda library: ops.add_examples(library, "p", {"ok": 1, "\ud800": 2}),
        lambda library: ops.raise_uses(library, "p", {"ok": 1, "d": -1}),
        lambda library: ops.restore_tag(library, " ", "x", at=AT),
        lambda library: ops.create_prompt(library, prompt("q", examples={"e": float("nan")})),
        lambda library: ops.create_prompt(library, prompt("q", deleted_at=-1)),
        lambda library: ops.rename_tag(library, "work", " ", at=AT),
    ],
)
def test_what_cannot_be_written_is_refused_without_repeating_it(library: Library, operation: Callable[[Library], bytes]) -> None:
    before = library.content()
    with pytest.raises(ValueError, match=r".") as refused:
        operation(library)
    assert "sk-secret" not in str(refused.value)
    assert library.content() == before


def test_values_are_nested_as_deeply_as_every_device_takes_them(library: Library) -> None:
    value: Any = 0
    for _ in range(127):
        value = [value]
    inspect_update(ops.set_fields(library, "p", {"source": value}))
    with pytest.raises(ValueError, match="nested too deeply"):
        ops.set_fields(library, "p", {"source": [value]})


def test_integers_beyond_what_javascript_has_are_written_as_floats(library: Library) -> None:
    ops.merge_preferences(library, {"edge": MAX_INTEGER, "beyond": MAX_INTEGER * 2 + 1, "small": -3})
    found = View(library).preferences()
    assert (found["edge"], found["beyond"], found["small"]) == (MAX_INTEGER, float(MAX_INTEGER * 2), -3)


# --- one by one


def test_preferences_are_merged_key_by_key(library: Library) -> None:
    update = ops.merge_preferences(library, {"ui": {"theme": None, "lang": "zh"}, "flag": None, "one": 1})
    assert View(library).preferences() == {"ui": {"size": 1, "lang": "zh"}, "one": 1}
    assert len(update) < 80
    ops.merge_device_prefs(library, "d", {"ui": None, "x": {"a": None}})
    assert (View(library).device_prefs("d"), View(library).device_prefs("e")) == ({"x": {}}, {})


def test_a_model_config_is_its_registers_and_shows_no_more_than_those(library: Library) -> None:
    ops.set_model_fields(library, "a/b", {"name": "A", "base_url": "https://example.com"})
    library.edit(lambda: library.root(Root.MODELS).__setitem__("m/api_key", "sk-secret"))
    library.edit(lambda: library.root(Root.MODELS).__setitem__("a/b/key_ref", "sk-secret"))
    library.edit(lambda: library.root(Root.MODELS).__setitem__("only/api_key", "sk-secret"))
    view = View(library)
    assert [(model.id, model.name, model.enabled, model.key_ref) for model in view.models()] == [
        ("m", "", True, KEY_REF),
        ("a/b", "A", False, None),
    ]
    assert "sk-secret" not in repr((view.models(), view.problems))
    ops.remove_model(library, "m")
    assert [model.id for model in view.models()] == ["a/b"]
    assert "m/api_key" not in library.root(Root.MODELS)


def test_templates_and_contexts_say_when_they_were_changed(library: Library) -> None:
    ops.set_template_fields(library, "t", {"name": "N", "language": "zh"}, at=AT + 5)
    ops.set_context_fields(library, "c", {"title": "C"}, at=AT + 6)
    ops.set_context_fields(library, "c", {"title": "C"}, at=AT + 9)
    view = View(library)
    (template,), (context,) = view.templates(), view.contexts()
    assert (template.name, template.language, template.updated_at, template.content) == (
        "N",
        "zh",
        AT + 5,
        [{"role": "user", "content": "x"}],
    )
    assert (context.title, context.updated_at, context.messages, context.tools) == ("C", AT + 6, [{"role": "user"}], [])


def test_variables_are_strings_by_name(library: Library) -> None:
    ops.set_variable(library, "name", "值 🙂")
    ops.delete_variable(library, "who")
    assert View(library).variables() == {"name": "值 🙂"}


def mark(library: Library, client: int, root: Root, key: str) -> None:
    """Put a rich-text mark at a key of a root, as a client may."""
    head = bytes((1, 1, client, 0, 6 | 0x20, 1))  # one struct: a ContentFormat
    library.apply(head + b"".join(bytes((len(text),)) + text.encode() for text in (root.value, key, "bold", "true")) + b"\0")
    assert key in set(library.root(root).keys())


def test_a_rich_text_mark_in_the_place_of_a_label_is_no_reason_not_to_destroy_a_prompt(library: Library) -> None:
    for client, root in enumerate((Root.LABELS, Root.USES), 70):
        mark(library, client, root, "p/x")
    ops.purge_prompts(library, ["p"])
    assert View(library).prompt("p") is None


def test_rich_text_marks_are_no_reason_not_to_destroy_a_version_or_to_take_off_a_label(library: Library) -> None:
    ops.add_version(library, "p", version("v2", at=AT + 1))
    library.edit(lambda: library.root(Root.TEXTS).__delitem__("v1"))
    mark(library, 70, Root.TEXTS, "v1")
    mark(library, 71, Root.LABELS, "p/x")
    ops.label_version(library, "p", "x", None)
    ops.remove_version(library, "p", "v1")
    assert [each.id for each in View(library).versions("p")] == ["v2"]


def test_a_version_is_destroyed_with_its_text_and_the_labels_at_it(library: Library) -> None:
    ops.create_prompt(library, prompt("q", version=version("w1")))
    ops.add_version(library, "p", version("v2", parent="v1", at=AT + 1))
    for prompt_id, label, at in (("p", "a", "v1"), ("p", "b/c", "v1"), ("p", "kept", "v2"), ("q", "a", "w1")):
        ops.label_version(library, prompt_id, label, at)
    library.edit(lambda: library.root(Root.LABELS).__setitem__("q/stray", "v1"))
    before = library.content()
    with pytest.raises(Missing):
        ops.remove_version(library, "q", "v1")  # another prompt's
    with pytest.raises(IsCurrent):
        ops.remove_version(library, "p", "v2")
    assert library.content() == before
    ops.remove_version(library, "p", "v1")
    assert set(library.root(Root.VERSIONS).keys()) == set(library.root(Root.TEXTS).keys()) == {"v2", "w1"}
    assert set(library.root(Root.LABELS).keys()) == {"p/kept", "q/a", "q/stray"}
    view = View(library)
    assert [(each.id, each.number, each.parent) for each in view.versions("p")] == [("v2", 1, "v1")]


def test_a_version_without_a_text_is_destroyed_too(library: Library) -> None:
    ops.add_version(library, "p", version("v2", at=AT + 1))
    library.edit(lambda: library.root(Root.TEXTS).__delitem__("v1"))
    ops.remove_version(library, "p", "v1")
    assert set(library.root(Root.VERSIONS).keys()) == {"v2"}
