"""What lies in a document, read in few crossings into Yrs.

pycrdt's own `Map.get` takes 9 us: it enters three transactions and wraps what it finds. Asking Yrs itself takes 0.6 us, and a library of
1,000 prompts has 19,000 fields. So whoever reads much opens one transaction and reads all within it, by the functions here.

Shared types may lie in one another without end (inspection bounds only plain values), and Yrs and pycrdt expand them recursively: 20,000
levels kill the process in `to_json`. So they are expanded here, to a bounded depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pycrdt import Doc

# Not public, but what `Map.integrated` (which is) holds: to be told apart from plain values, and to be asked.
from pycrdt._pycrdt import Array as YArray
from pycrdt._pycrdt import Map as YMap
from pycrdt._pycrdt import Text as YText
from pycrdt._pycrdt import Transaction as Txn

from crdt.contents import MAX_DEPTH
from crdt.plain import number_read

__all__ = ["Txn", "YArray", "YMap", "YText", "fields", "get", "keys", "plain", "reading"]


@contextmanager
def reading(doc: Doc[Any]) -> Iterator[Txn]:
    """One transaction for all that is read within it. Joins one that is open."""
    with doc.transaction() as transaction:
        if transaction._txn is None:
            raise RuntimeError("a transaction that was entered has a Yrs transaction")
        yield transaction._txn


def get(there: YMap, txn: Txn, key: str) -> Any:
    """What lies at the key: a plain value, or a shared type; None where nothing does."""
    try:
        return there.get(txn, key)
    except ValueError:
        return None


def keys(there: YMap, txn: Txn) -> list[str]:
    """Where something lies, in no order."""
    found: list[str] = there.keys(txn)  # type: ignore[attr-defined]  # left out of pycrdt's stubs
    return found


def fields(there: YMap, txn: Txn, names: Iterable[str]) -> dict[str, Any]:
    """What lies at each of the names."""
    found: dict[str, Any] = {}
    for name in names:
        try:
            found[name] = there.get(txn, name)
        except ValueError:
            found[name] = None
    return found


def plain(value: Any, txn: Txn, wrong: Callable[[], None], depth: int = 0) -> Any:
    """The value as JSON, shared types as what they hold; None where it is no JSON or nested too deeply, and then `wrong` is called."""
    if value is None or isinstance(value, (str, bool)):  # twice as fast as a union
        return value
    if isinstance(value, (int, float)) and (number := number_read(value)) is not None:
        return number
    if isinstance(value, YText):
        return value.get_string(txn)
    if depth >= MAX_DEPTH:
        wrong()
        return None
    if isinstance(value, list):
        return [plain(each, txn, wrong, depth + 1) for each in value]
    if isinstance(value, dict):
        return {name: plain(each, txn, wrong, depth + 1) for name, each in value.items()}
    if isinstance(value, YMap):
        return {name: plain(get(value, txn, name), txn, wrong, depth + 1) for name in keys(value, txn)}
    if isinstance(value, YArray):
        return [plain(value.get(txn, place), txn, wrong, depth + 1) for place in range(value.len(txn))]
    wrong()
    return None
