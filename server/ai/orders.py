"""What goes between a server and the process that calls models for it: orders there, and back what came of them.

As JSON: what comes back of a provider's answer can be nothing but data. A secret is handed over here, on purpose and nowhere else.
"""

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from auth.model_secret import ModelSecret
from server.ai.calls import Finished, Message, Piece, Reasoning, Role, Target, Token, Usage
from server.ai.failures import ModelFailed, Outcome
from server.ai.listed_models import ListedModel

_LENGTH = struct.Struct(">I")


class Needed(NamedTuple):
    """What goes there before the first order: settings, none of them secret, and how to log."""

    settings: Mapping[str, Any]
    log_level: str
    json: bool
    process: int | None
    """The number of the server's process, where several serve one port: each line of the log names it."""


class Kind(StrEnum):
    """What an order is for."""

    STREAM = "stream"
    CHECK = "check"
    LIST = "list"
    CANCEL = "cancel"
    """Give up the order of this number; nothing is answered."""


class Order(NamedTuple):
    """Something to do, under a number of its own."""

    number: int
    kind: Kind
    target: Mapping[str, Any]
    """As `plain` makes it. Shows secrets: never to be logged."""
    messages: Sequence[Message]


class Done(NamedTuple):
    """The end of an order that has succeeded; `listed` is what a list has."""

    listed: Sequence[ListedModel]


class Failed(NamedTuple):
    """The end of an order that has not: a `ModelFailed`, in parts."""

    outcome: Outcome
    said: str
    retry_after: int | None

    def error(self) -> ModelFailed:
        """As it is raised."""
        return ModelFailed(self.outcome, self.said, retry_after=self.retry_after)


Word: TypeAlias = Piece | Done | Failed
"""What is said of an order: pieces as they come, and last `Done` or `Failed`."""

_WORDS: Mapping[str, tuple[type[Word], Callable[..., Word]]] = {
    "token": (Token, Token),
    "reasoning": (Reasoning, Reasoning),
    "finished": (Finished, lambda reason, usage: Finished(reason, Usage(*usage))),
    "done": (Done, lambda listed: Done(tuple(ListedModel(*each) for each in listed))),
    "failed": (Failed, lambda outcome, said, retry_after: Failed(Outcome(outcome), said, retry_after)),
}
_NAMES = {kind: name for name, (kind, _) in _WORDS.items()}
_TARGET = tuple(each.name for each in fields(Target))


def plain(target: Target) -> dict[str, Any]:
    """A target as it can be sent, its secret in the clear."""
    values = {name: getattr(target, name) for name in _TARGET}
    return values | {"secret": (target.secret.api_key, target.secret.headers)}


def target_in(order: Order) -> Target:
    """The target of an order."""
    return Target(**{**order.target, "secret": ModelSecret(*order.target["secret"])})


def order_in(content: Sequence[Any]) -> Order:
    """An order as it was sent."""
    number, kind, target, messages = content
    return Order(number, Kind(kind), target, [Message(Role(role), text) for role, text in messages])


def written(words: Iterable[tuple[int, Word]]) -> Sequence[Any]:
    """What is said at once, of orders by their numbers, as it is sent."""
    return [(number, _NAMES[type(word)], *word) for number, word in words]


def words_in(content: Sequence[Sequence[Any]]) -> Iterator[tuple[int, Word]]:
    """What was said."""
    for number, name, *parts in content:
        yield number, _WORDS[name][1](*parts)


def framed(content: Any) -> bytes:
    """What is to be sent, with its length before it. Raises TypeError for what is no JSON."""
    data = json.dumps(content).encode()
    return _LENGTH.pack(len(data)) + data


class Frames:
    """Puts together again what comes in pieces of any size."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """What is complete with this."""
        self._data += data
        begin = 0
        while len(self._data) - begin >= _LENGTH.size:
            end = begin + _LENGTH.size + _LENGTH.unpack_from(self._data, begin)[0]
            if len(self._data) < end:
                break
            content = json.loads(self._data[begin + _LENGTH.size : end])
            begin = end
            yield content
        del self._data[:begin]
