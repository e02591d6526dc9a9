"""Libraries to export: random ones that are made by operations, and one that is made anew from its file."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from pycrdt import Map, Text

from crdt import operations as ops
from crdt.library import Library, Mode, Root
from crdt.operations import NewPrompt, NewVersion
from crdt.seed import SEED
from server.transfer.library_file import LibraryFile

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = TEXTS.filter(lambda text: bool(text.strip()))
TIMES = st.integers(0, 1_764_108_000_000)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
PLAIN_NAMES = st.sampled_from(["temperature", "seed", "格式", "a/b", "", "zoom"])
"""Names that no secret has."""
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN_NAMES, inner, max_size=3), max_leaves=5)
MAPS = st.dictionaries(PLAIN_NAMES, VALUES, max_size=3)
MESSAGES = st.fixed_dictionaries({"role": TEXTS, "content": TEXTS})
TAGS = st.sampled_from(["work", "Home", "写作", "a", "b", "c"])
CATEGORIES = st.sampled_from(["cat-writing", "x", "y", "gone"])
ORDERS = st.sampled_from(["a0", "a0V", "Zz", "n1"])
DEVICES = st.sampled_from(["desk", "phone"])
KINDS = st.sampled_from(["optimize", "iterate", "edit", "restore", "asset", "userOptimize", "import"])


@st.composite
def libraries(draw: st.DrawFn) -> Library:
    """A library of whatever users do."""
    library = Library.load(SEED, 5)
    for category in draw(st.sets(st.sampled_from(["x", "y"]))):
        below = {"parent": draw(st.none() | st.just("cat-writing")), "color": draw(st.none() | TEXTS)}
        ops.create_category(library, category, name=draw(NAMES), order=draw(ORDERS), at=draw(TIMES), more=below)
        if draw(st.booleans()):
            ops.delete_category(library, category, draw(TIMES))
    for number in range(draw(st.integers(0, 3))):
        _prompt(draw, library, f"p{number}")
    for tag in draw(st.sets(TAGS)):
        ops.register_tag(library, tag, at=draw(TIMES), color=draw(st.none() | TEXTS))
    for tag, into in draw(st.lists(st.tuples(TAGS, TAGS), max_size=3)):
        ops.merge_tags(library, [tag], into, at=draw(TIMES)) if _is_there(library, tag) else None
    for number in range(draw(st.integers(0, 2))):
        content = draw(TEXTS | st.lists(MESSAGES, max_size=2))
        ops.create_template(library, f"t{number}", {"name": draw(TEXTS), "language": draw(TEXTS), "content": content}, at=draw(TIMES))
        lists = {name: draw(st.lists(MAPS | VALUES, max_size=2)) for name in ("messages", "tools")}
        fields = {"title": draw(TEXTS), "order": draw(ORDERS), "variables": draw(MAPS), **lists}
        ops.create_context(library, f"c{number}", fields, at=draw(TIMES))
        if draw(st.booleans()):
            ops.delete_template(library, f"t{number}", draw(TIMES))
            ops.delete_context(library, f"c{number}", draw(TIMES))
    for model in draw(st.sets(st.sampled_from(["deepseek", "my/own"]))):
        ops.set_model_fields(library, model, {"name": draw(TEXTS), "enabled": draw(st.booleans()), "params": draw(MAPS),
                                              "capabilities": draw(MAPS), "key_ref": {"mode": "server", "secret_id": "s"}})  # fmt: skip
    for name in draw(st.sets(NAMES, max_size=3)):
        ops.set_variable(library, name, draw(TEXTS))
    ops.merge_preferences(library, draw(MAPS))
    ops.merge_device_prefs(library, "phone", {name or "-": value for name, value in draw(MAPS).items()})
    return library


def _prompt(draw: st.DrawFn, library: Library, prompt_id: str) -> None:
    more = {"variables": draw(MAPS), "messages": draw(st.none() | st.lists(VALUES | MESSAGES, max_size=2)), "favorite": draw(st.booleans()),
            "pinned": draw(st.booleans()), "media": draw(st.lists(TEXTS, max_size=2)), "source": draw(VALUES)}  # fmt: skip
    ops.create_prompt(
        library,
        NewPrompt(id=prompt_id, title=draw(TEXTS), description=draw(TEXTS), created_at=draw(TIMES), device=draw(DEVICES),
                  order=draw(ORDERS), original=draw(TEXTS), tags=draw(st.sets(TAGS, max_size=3)), category=draw(st.none() | CATEGORIES),
                  mode=draw(st.sampled_from(list(Mode))), more=more),
    )  # fmt: skip
    made: list[str] = []
    for number in range(draw(st.integers(0, 4))):
        of_version = {"model": draw(st.none() | TEXTS), "model_name": draw(st.none() | TEXTS), "template": draw(st.none() | TEXTS),
                      "input": draw(st.none() | TEXTS), "params": draw(st.none() | MAPS), "usage": draw(st.none() | MAPS)}  # fmt: skip
        parent = draw(st.none() | st.sampled_from(made)) if made else None
        version = NewVersion(id=f"{prompt_id}-v{number}", text=draw(TEXTS), kind=draw(KINDS), at=draw(TIMES), device=draw(DEVICES),
                             parent=parent, note=draw(TEXTS), more=of_version)  # fmt: skip
        ops.add_version(library, prompt_id, version, current=draw(st.booleans()))
        made.append(version.id)
    for label in draw(st.sets(NAMES, max_size=2)) if made else ():
        ops.label_version(library, prompt_id, label, draw(st.sampled_from(made)))
    for device in draw(st.lists(DEVICES, max_size=3)):
        ops.count_use(library, prompt_id, device)
    prompt = library.root(Root.PROMPTS)[prompt_id]
    library.edit(lambda: prompt["examples"].update({"e": draw(MAPS)}))
    if draw(st.booleans()):
        ops.delete_prompt(library, prompt_id, draw(TIMES))


def _is_there(library: Library, tag: str) -> bool:
    return ops.normalise_tag(tag) in library.root(Root.TAGS)


def made_from(file: LibraryFile) -> Library:
    """A library in which is what the file says, and nothing else."""
    library = Library(9)
    library.edit(lambda: _write(library, file))
    return library


def _write(library: Library, file: LibraryFile) -> None:
    for prompt in file.prompts:
        fields: dict[str, Any] = prompt.model_dump(exclude={"id", "versions", "labels", "uses"})
        fields["original"], fields["examples"] = Text(prompt.original), Map(prompt.examples)
        fields["tags"] = Map(dict.fromkeys(prompt.tags, True))
        library.root(Root.PROMPTS)[prompt.id] = Map(fields)
        for version in prompt.versions:
            library.root(Root.VERSIONS)[version.id] = version.model_dump(exclude={"id", "text"}) | {"prompt": prompt.id}
            library.root(Root.TEXTS)[version.id] = Text(version.text)
        library.root(Root.LABELS).update({f"{prompt.id}/{label}": version for label, version in prompt.labels.items()})
        library.root(Root.USES).update({f"{prompt.id}/{device}": count for device, count in prompt.uses.items()})
    for root, items in ((Root.CATEGORIES, file.categories), (Root.TEMPLATES, file.templates), (Root.CONTEXTS, file.contexts)):
        for item in items:
            library.root(root)[item.id] = Map(item.model_dump(exclude={"id"}))
    for tag in file.tags:
        library.root(Root.TAGS)[tag.tag] = tag.model_dump(exclude={"tag"}, exclude_none=True)
    for model in file.models:
        library.root(Root.MODELS).update({f"{model.id}/{name}": value for name, value in model.model_dump(exclude={"id"}).items()})
    library.root(Root.VARIABLES).update(file.variables)
    library.root(Root.PREFS).update(file.preferences)
    for device, values in file.device_preferences.items():
        library.root(Root.DEVICE_PREFS).update({f"{device}/{name}": value for name, value in values.items()})
