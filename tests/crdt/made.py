"""Updates to test with: captured from yjs, made by pycrdt, written by hand."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Doc, Text

from crdt.errors import InvalidUpdate
from crdt.knowledge import Knowledge
from crdt.updates import inspect

CAPTURED: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "updates.json").read_text())
VECTORS: list[dict[str, Any]] = CAPTURED["vectors"]


def triples(flat: array[int]) -> list[list[int]]:
    return [list(flat[place : place + 3]) for place in range(0, len(flat), 3)]


def knowledge_of(*raw: bytes) -> Knowledge:
    knowledge = Knowledge()
    for update in raw:
        knowledge.learn(inspect(update))
    return knowledge


def one(content: str, deletions: str = "00") -> bytes:
    """An update of client 1 with one struct from clock 0: info byte, parent root "a", content; all in hex."""
    info, rest = content.split(maxsplit=1)
    return bytes.fromhex(f"01 01 01 00 {info} 01 01 61 {rest} {deletions}")


def refusal(update: bytes) -> str:
    with pytest.raises(InvalidUpdate) as refused:
        inspect(update)
    return refused.value.reason


def edits(client: int, *steps: Callable[[Doc[Any]], object]) -> tuple[Doc[Any], list[bytes]]:
    """A document and the update that each step made."""
    doc: Doc[Any] = Doc(client_id=client)
    made: list[bytes] = []
    for step in steps:
        subscription = doc.observe(lambda event: made.append(event.update))
        step(doc)
        doc.unobserve(subscription)
    return doc, made


def typed(*texts: str, client: int = 7) -> list[bytes]:
    return edits(client, *(lambda doc, t=t: doc.get("t", type=Text).insert(0, t) for t in texts))[1]
