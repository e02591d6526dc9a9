"""The desk: what open documents take of memory is counted as no less than it is."""

import os
from pathlib import Path
from uuid import uuid4

import pytest

from crdt.library import Library
from crdt.operations import NewPrompt, create_prompt
from crdt.seed import SEED
from crdt.updates import EMPTY_STATE_VECTOR
from crdt.view import View
from server.desk import Desk, Opening, Order

LIBRARIES = 300


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def look(view: View) -> int:
    return len(view.rows()) + len(view.categories()) + len(view.tags())


@pytest.mark.parametrize("prompts", [0, 20])
def test_many_small_libraries_take_about_what_they_are_counted_as(prompts: int) -> None:
    library, desk = Library(client_id=9), Desk()
    library.take(SEED)
    for number in range(prompts):
        new = NewPrompt(id=str(uuid4()), title=f"{number}", created_at=1, device="d", order="a", original="hello " * 30, tags=["a", "b"])
        create_prompt(library, new)
    order = Order(uuid4(), Opening(5, library.content()), (), EMPTY_STATE_VECTOR, look)
    desk.do(order)
    before = resident_bytes()
    counted = sum(desk.do(order._replace(library_id=uuid4())).nbytes for _ in range(LIBRARIES))
    assert resident_bytes() - before < 1.25 * counted
