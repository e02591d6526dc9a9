"""The models that a provider says it has: read out of its list, and kept for a while."""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from server.ai.calls import Target
from server.ai.failures import Outcome
from server.ai.troubles import Broken

MAX_LISTED = 2_000
"""Models of one list; OpenRouter has 400. The rest is left out."""
MAX_NAME = 200
"""Characters of an id or a name; a model whose id is longer is left out."""
KEPT_SECONDS = 300.0
MAX_KEPT = 256
"""Lists that a process keeps; past it the longest unused is forgotten, and asked for again."""


class ListedModel(NamedTuple):
    """A model that a provider has."""

    id: str
    name: str


def listed_in(content: Any) -> Sequence[ListedModel]:
    """The models in a list as OpenAI and Anthropic write it, by id. Raises Broken for what is no list."""
    data = content.get("data") if isinstance(content, dict) else content
    if not isinstance(data, list):
        raise Broken(Outcome.FAILED, "the provider's list of models is none")
    found: dict[str, ListedModel] = {}
    for entry in data:
        model_id = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(model_id, str) or not _is_shown(model_id):
            continue
        name = entry.get("display_name") or entry.get("name")
        found[model_id] = ListedModel(model_id, name if isinstance(name, str) and _is_shown(name) else model_id)
        if len(found) == MAX_LISTED:
            break
    return sorted(found.values())


def _is_shown(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and text.isprintable()


class ListedModels:
    """The lists that were asked for lately, each known to whoever has the secret that it was asked with."""

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self._kept: OrderedDict[bytes, tuple[float, Sequence[ListedModel]]] = OrderedDict()
        self._pepper = os.urandom(16)

    def kept(self, target: Target) -> Sequence[ListedModel] | None:
        """The list that is kept, if there is one."""
        key = self._key(target)
        if (kept := self._kept.get(key)) is None or self._ticks() >= kept[0]:
            return None
        self._kept.move_to_end(key)
        return kept[1]

    async def get(self, target: Target, ask: Callable[[Target], Awaitable[Sequence[ListedModel]]]) -> Sequence[ListedModel]:
        """The list, asked for where none is kept. A failure is not kept. Raises what `ask` raises."""
        if (kept := self.kept(target)) is not None:
            return kept
        found, key = await ask(target), self._key(target)
        self._kept[key] = (self._ticks() + KEPT_SECONDS, found)
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return found

    def _key(self, target: Target) -> bytes:
        """What a list belongs to; of the secret only a fingerprint that means nothing elsewhere."""
        secret = target.secret
        parts = (target.provider, target.base_url, repr(secret.api_key), repr(sorted(secret.headers.items())))
        return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), key=self._pepper, digest_size=16).digest()
