"""The layout of a library between yjs in Node and Python: what one writes the other reads, and both edit one text."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from crdt import operations as ops
from crdt.library import (
    CATEGORY_FIELDS,
    CONTEXT_FIELDS,
    MODEL_FIELDS,
    PROMPT_FIELDS,
    TEMPLATE_FIELDS,
    VERSION_FIELDS,
    Library,
    Root,
)
from crdt.operations import NewPrompt, NewVersion
from crdt.seed import SEED
from crdt.view import View
from tests.crdt.layout_scenarios import HIGH, LOW, SCENARIOS, Scenario, filled
from tests.interop.devices import HERE, NodeDevice
from tests.support.server import ROOT

pytestmark = pytest.mark.node

AT = 1_764_108_000_000
PAGE = ROOT / "docs" / "library-schema.md"


def in_node(library: Library, *arguments: str) -> dict[str, Any]:
    """What Node makes of the library, and the update that it made."""
    command = ["node", "layout.mjs", *arguments]
    node = subprocess.run(command, cwd=HERE, input=library.content().hex(), capture_output=True, text=True, timeout=60, check=True)
    answer = json.loads(node.stdout)
    assert isinstance(answer, dict)
    return answer


def test_the_example_of_the_page_makes_a_prompt_that_reads_without_a_problem(packages: None) -> None:
    library = Library.load(SEED, 5)
    library.apply(bytes.fromhex(in_node(library, "example", str(PAGE))["update"]))
    view = View(library)
    (prompt,) = view.prompts()
    assert (prompt.title, prompt.category, prompt.tags, prompt.model) == ("Weekly report", "cat-writing", ("Job", "urgent"), "deepseek")
    assert (prompt.favorite, prompt.uses, prompt.deleted_at is not None) == (True, 1, True)
    first, second = view.versions(prompt.id)
    assert (first.kind, second.kind, second.parent, second.note) == ("optimize", "iterate", first.id, "shorter")
    assert (prompt.current, prompt.labels) == (second.id, {"production": first.id})
    assert view.text(prompt.current) == "Please note: # Role: Report writer"
    assert view.original(prompt.id) == "Please write a weekly report"
    assert [(model.id, model.enabled, model.key_ref) for model in view.models()] == [("deepseek", True, {"mode": "device"})]
    assert (view.variables(), view.preferences()) == ({"audience": "my team"}, {"theme": "dark"})
    assert view.device_prefs("my-device-id") == {"panel-width": 320}
    assert view.problems == []


FIELDS_OF = {
    "Prompt": PROMPT_FIELDS,
    "Version": VERSION_FIELDS,
    "Category": CATEGORY_FIELDS,
    "Template": TEMPLATE_FIELDS,
    "Context": CONTEXT_FIELDS,
    "ModelConfig": MODEL_FIELDS,
}


def test_the_page_has_every_root_and_every_field() -> None:
    page = PAGE.read_text()
    roots = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page, re.MULTILINE)
    assert {name for each in roots for name in re.findall(r"\w+", each)} == set(Root)
    for interface, fields in FIELDS_OF.items():
        found = re.search(rf"interface {interface} \{{(.*?)(?:^\}}|\}}$)", page, re.MULTILINE | re.DOTALL)
        assert found is not None
        body = re.sub(r"//.*", "", found[1])
        assert set(re.findall(r"(?:^|;|\{)\s*(\w+)\??:", "{" + re.sub(r"[:|] \{[^}]*\}", ": x", body), re.MULTILINE)) == set(fields), (
            interface
        )


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


@pytest.fixture(scope="module")
def node(packages: None) -> Iterator[NodeDevice]:
    """A device in Node that edits libraries, one after the other."""
    with NodeDevice("layout") as device:
        yield device


def meet(node: NodeDevice, library: Library, typed: bytes, made: bytes) -> None:
    """Both sides take in what the other has written, and must hold the same then."""
    library.apply(typed)
    node.do("apply", update=made.hex())
    content = node.do("content", roots=list(Root))
    assert content == {root: library.root(root).to_py() for root in Root}


@pytest.mark.parametrize(("here", "there"), [(LOW, HIGH), (HIGH, LOW)], ids=["here low", "here high"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_what_yjs_and_our_operations_do_apart_meets_without_loss(node: NodeDevice, scenario: Scenario, here: int, there: int) -> None:
    library = Library.load(filled().content(), here)
    view, before = View(library), library.state_vector()
    view.prompts()
    node.do("open", client=there, update=library.content().hex())
    scenario.here(library)
    typed = bytes.fromhex(node.do("write", todo=scenario.steps))
    made = library.content(before)
    meet(node, library, typed, made)
    for each in (view, View(library)):
        scenario.check(each)
    assert max(len(made), len(typed)) <= scenario.most_bytes


TEXTS = ["周报 🙂 的\u00e9 e\u0301", "👩‍💻👨‍👩‍👧", "a中😀b", "𠀀𠀁 x", "", "日本語テキスト、はい。"]


@pytest.mark.parametrize(("here", "there"), [(LOW, HIGH), (HIGH, LOW)], ids=["here low", "here high"])
@pytest.mark.parametrize("before", TEXTS)
def test_an_edit_here_damages_no_character_that_yjs_types_beside(node: NodeDevice, before: str, here: int, there: int) -> None:
    """Yrs counts bytes, yjs UTF-16 units: each side edits around characters of one to four bytes."""
    for after in TEXTS:
        library = Library.load(filled().content(), here)
        ops.edit_version(library, "w1", f"《{before}》")
        node.do("open", client=there, update=library.content().hex())
        vector = library.state_vector()
        ops.edit_version(library, "w1", f"《{after}》")
        steps = [["type", ["texts", "w1"], 0, "😀始"], ["type", ["texts", "w1"], None, "終🙂"]]
        typed = bytes.fromhex(node.do("write", todo=steps))
        meet(node, library, typed, library.content(vector))
        assert View(library).text("w1") == f"😀始《{after}》終🙂"
