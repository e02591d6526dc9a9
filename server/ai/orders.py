"""What goes between a server and the process that calls models for it: orders there, and back what came of them.

Orders and answers are pickled: both ends are ours. A secret is handed over here, on purpose and nowhere else.
"""

import pickle
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from auth.model_secret import ModelSecret
from server.ai.calls import Message, Piece, Target
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
Words: TypeAlias = Sequence[tuple[int, Word]]
"""What is said at once, of orders by their numbers."""


def plain(target: Target) -> dict[str, Any]:
    """A target as it can be pickled, its secret in the clear."""
    values = {each.name: getattr(target, each.name) for each in fields(target)}
    return values | {"secret": (target.secret.api_key, dict(target.secret.headers)), "params": dict(target.params)}


def target_in(order: Order) -> Target:
    """The target of an order."""
    return Target(**{**order.target, "secret": ModelSecret(*order.target["secret"])})


def framed(content: Any) -> bytes:
    """What is to be sent, with its length before it."""
    data = pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
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
            with memoryview(self._data) as view:
                content = pickle.loads(view[begin + _LENGTH.size : end])  # noqa: S301  # from our own process
            begin = end
            yield content
        del self._data[:begin]
