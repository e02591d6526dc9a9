"""What any client may write into a library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from pycrdt import Array, Map, Text, XmlFragment

from crdt.library import Library, Root

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(2**53), 2**53) | st.text(max_size=8) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.sampled_from(["p", "label"]), inner, max_size=3),
    max_leaves=6,
)
VERSIONS = st.fixed_dictionaries({"prompt": st.sampled_from(["p", "q", "none"]), "at": st.integers(0, 5) | JSON, "model": JSON})
TAGS = st.fixed_dictionaries({}, optional={"merged_into": st.sampled_from(["a", "b", "C "]), "label": st.text(max_size=3) | JSON})
NAMES = st.sampled_from(
    [
        "p",
        "q",
        "v1",
        "v2",
        "p/d",
        "q/d",
        "p/name",
        "a",
        "b",
        "c",
        "",
        "cat-writing",
        "title",
        "tags",
        "current",
        "category",
        "parent",
        "text",
    ]
)
KINDS = st.sampled_from(["plain", "shared", "xml", "delete"])
Write = tuple[Root, str, Any, str, str | None]
WRITES: st.SearchStrategy[list[Write]] = st.lists(
    st.tuples(st.sampled_from(list(Root)), NAMES, JSON | VERSIONS | TAGS | NAMES, KINDS, st.none() | NAMES), max_size=25
)
"""Where, what and of which kind: at a key of a root, or inside what lies there."""


def write(library: Library, writes: list[Write]) -> Callable[[], None]:
    """The change that makes these writes."""

    def change() -> None:
        for root, key, value, kind, inner in writes:
            there: Any = library.root(root)
            if inner is not None and isinstance(found := there.get(key), Map):
                there, key = found, inner
            if kind != "delete":
                there[key] = _shared(value, kind)
            elif key in there:
                del there[key]

    return change


def _shared(value: Any, kind: str) -> Any:
    """The value, or a shared type that holds it."""
    if kind == "xml":
        return XmlFragment()
    match value:
        case _ if kind == "plain":
            return value
        case dict():
            return Map(value)
        case list():
            return Array(value)
        case str():
            return Text(value)
    return value
