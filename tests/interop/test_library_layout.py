"""The layout of a library between yjs in Node and Python: what one writes the other reads, and both edit one text."""

import json
import subprocess
from typing import Any

import pytest

from crdt import operations as ops
from crdt.library import Library
from crdt.operations import NewPrompt, NewVersion
from crdt.seed import SEED
from crdt.view import View
from tests.interop.devices import HERE
from tests.support.server import ROOT

pytestmark = pytest.mark.node

AT = 1_764_108_000_000


def in_node(library: Library, *arguments: str) -> dict[str, Any]:
    """What Node makes of the library, and the update that it made."""
    command = ["node", "layout.mjs", *arguments]
    node = subprocess.run(command, cwd=HERE, input=library.content().hex(), capture_output=True, text=True, timeout=60, check=True)
    answer = json.loads(node.stdout)
    assert isinstance(answer, dict)
    return answer


def test_the_example_of_the_page_makes_a_prompt_that_reads_without_a_problem(packages: None) -> None:
    library = Library.load(SEED, 5)
    library.apply(bytes.fromhex(in_node(library, "example", str(ROOT / "docs" / "library-schema.md"))["update"]))
    view = View(library)
    (prompt,) = view.prompts()
    assert (prompt.title, prompt.category, prompt.tags, prompt.model) == ("Weekly report", "cat-writing", ("urgent", "work"), "deepseek")
    assert view.text(prompt.current) == "Please note: # Role: Weekly report writer"
    assert view.original(prompt.id) == "write a weekly report"
    assert prompt.deleted_at is not None
    assert [version.number for version in view.versions(prompt.id)] == [1]
    assert view.problems == []


@pytest.mark.parametrize("client_id", [5, 4_294_967_295], ids=["low", "high"])
def test_what_python_makes_is_read_and_edited_in_node_and_meets_an_edit_here(packages: None, client_id: int) -> None:
    library = Library.load(SEED, client_id)
    version = NewVersion(id="v1", text="# 角色 🙂 writer", kind="optimize", at=AT, device="d")
    made = NewPrompt(id="p", title="t", created_at=AT, device="d", order="a0", original="写", tags=["Work"], version=version)
    ops.create_prompt(library, made)

    answer = in_node(library, "edit")
    ops.edit_version(library, "v1", "# 角色 🙂 poet 诗")  # at the same time
    library.apply(bytes.fromhex(answer["update"]))

    assert answer["prompts"]["p"]["original"] == "写"
    assert answer["versions"]["v1"]["kind"] == "optimize"
    view = View(library)
    (prompt,) = view.prompts()
    assert (prompt.title, prompt.tags) == ("周报 from JS 🙂", ("from-js", "work"))
    assert view.text("v1") == " 角色 插入 🙂 poet 诗"
    assert view.problems == []
