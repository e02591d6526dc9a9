"""What devices and REST clients have meant to write, and whether all of it is there."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from crdt.library import Library
from crdt.updates import inspect, merge
from crdt.view import View

SERVERS_IDS = 1 << 31
"""Clients from here on are the server's; the tests' devices are below."""

_MARK = re.compile("〔[^〔〕]*〕")


@dataclass(slots=True)
class Meant:
    """What has to be in a prompt."""

    texts: set[str] = field(default_factory=set)
    """Marks in the original text."""
    answered: set[str] = field(default_factory=set)
    """Those of them that REST has answered with success: whoever reads from now on sees them."""
    versions: set[str] = field(default_factory=set)
    """Marks in the text of some version."""
    tags: set[str] = field(default_factory=set)
    fields: dict[str, Any] = field(default_factory=dict)
    """Registers that one writer alone sets."""
    doomed: bool = False
    """Somebody has destroyed it; as soon as everybody knows, it is gone."""


class Ledger:
    """Everything that was answered with success, or made on a device and handed over."""

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._marks = 0
        self.prompts: dict[str, Meant] = {}
        self.refused: set[str] = set()
        """Marks of changes that were answered with a refusal."""

    def mark(self, who: str) -> str:
        """Something that stands in no other text: Latin, Chinese and what takes four bytes, kept together by its brackets."""
        self._marks += 1
        return f"〔{who}{self._marks}{self._random.choice(('', '写作', '🙂', '𠀀 x', ' the'))}〕"

    def name(self, who: str) -> str:
        self._marks += 1
        return f"{who}-{self._marks}"

    def put_in(self, text: str, mark: str) -> str:
        """The text with the mark at one of the places between what others have marked."""
        places = [0, *(found.end() for found in _MARK.finditer(text)), len(text)]
        place = self._random.choice(places)
        return text[:place] + mark + text[place:]

    def living(self, among: Iterable[str]) -> list[str]:
        """Those of the prompts that nobody has destroyed."""
        return sorted(prompt for prompt in among if prompt in self.prompts and not self.prompts[prompt].doomed)

    def check(self, view: View) -> None:
        """All that was meant is there, once, and nothing that was refused."""
        for prompt_id, meant in self.prompts.items():
            state = view.full(prompt_id)
            if meant.doomed:
                assert state is None, f"{prompt_id} was destroyed"
                continue
            assert state is not None, f"{prompt_id} is missing"
            counts = {mark: state.original.count(mark) for mark in meant.texts}
            assert set(counts.values()) <= {1}, f"{prompt_id}: {counts} in {state.original!r}"
            texts = [view.text(version.id) for version in view.versions(prompt_id)]
            assert all(any(mark in text for text in texts) for mark in meant.versions), f"{prompt_id}: {meant.versions} in {texts}"
            assert meant.tags <= set(state.prompt.tags), f"{prompt_id}: {meant.tags - set(state.prompt.tags)}"
            found = {name: getattr(state.prompt, name) for name in meant.fields}
            assert found == meant.fields, prompt_id
            everything = "".join((state.original, *texts))
            assert not [mark for mark in self.refused if mark in everything], f"{prompt_id}: what was refused is written"


def states_of(view: View) -> dict[str, str]:
    """A tag of everything that is in a prompt, for each."""
    states = {prompt_id: view.full(prompt_id) for prompt_id in view.prompt_ids()}
    return {prompt_id: state.etag for prompt_id, state in states.items() if state is not None}


def check_log(log: Sequence[bytes], states: dict[str, str], *, one_client: bool) -> None:
    """No client's clock has two contents: whichever comes first, the library is the same. And what the server wrote, it wrote once."""
    taken: Counter[tuple[int, int]] = Counter()
    for update in log:
        held = inspect(update).held
        for at in range(0, len(held), 3):
            if held[at] >= SERVERS_IDS:
                taken.update((held[at], clock) for clock in range(held[at + 1], held[at + 2]))
    assert max(taken.values(), default=0) <= 1
    assert not one_client or len({client for client, _ in taken}) <= 1, "the server's client was renewed without need"
    shuffled = random.Random(len(log)).sample(log, len(log))
    for order in (log, log[::-1], shuffled):
        assert states_of(View(Library.load(merge(order)))) == states
