"""Prompt Optimizer's history: records in chains, each of which becomes a prompt whose versions are the records, oldest first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from crdt.library import Mode
from server.transfer.bounds import MOST_VERSIONS
from server.transfer.fields import MAX_ID, Fields, Ids, made_title
from server.transfer.problems import Reason

APP = "prompt-optimizer"
_MODES = {
    "userOptimize": Mode.BASIC_USER,
    "contextUserOptimize": Mode.PRO_VARIABLE,
    "contextIterate": Mode.PRO_VARIABLE,
    "conversationMessageOptimize": Mode.PRO_MULTI,
    "imageOptimize": Mode.IMAGE_TEXT2IMAGE,
    "contextImageOptimize": Mode.IMAGE_TEXT2IMAGE,
    "imageIterate": Mode.IMAGE_TEXT2IMAGE,
    "text2imageOptimize": Mode.IMAGE_TEXT2IMAGE,
    "image2imageOptimize": Mode.IMAGE_IMAGE2IMAGE,
    "multiimageOptimize": Mode.IMAGE_MULTIIMAGE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The records of one chain, oldest first."""

    id: str
    records: Sequence[Fields]

    @property
    def key(self) -> str:
        return f"chain:{self.id}"

    @property
    def original(self) -> str:
        return str(self.records[0].raw["originalPrompt"]) if isinstance(self.records[0].raw.get("originalPrompt"), str) else ""


def chains_of(records: Iterable[Fields], now: int) -> list[Chain]:
    """The chains, in the order in which their first records come in the file; records that are none are skipped."""
    found: dict[str, list[Fields]] = {}
    seen: set[str] = set()
    for record in records:
        record_id, text = record.raw.get("id"), record.raw.get("optimizedPrompt")
        if not isinstance(record_id, str) or not 0 < len(record_id) <= MAX_ID or not isinstance(text, str):
            record.skip(Reason.INVALID, "optimizedPrompt" if isinstance(record_id, str) else "id")
        elif record_id in seen:
            record.skip(Reason.DUPLICATE)
        else:
            seen.add(record_id)
            found.setdefault(record.text("chainId") or record_id, []).append(record)
    return [_chain(chain_id, each, now) for chain_id, each in found.items()]


def versions_of(chain: Chain, ids: Ids, now: int) -> list[dict[str, Any]]:
    """The chain's records as versions. Their times grow, as their numbers do, whatever the clock said."""
    versions: list[dict[str, Any]] = []
    inputs = {str(record.raw["id"]): record.raw.get("originalPrompt") for record in chain.records}
    before: str | None = None
    at = -1
    for record in chain.records:
        record_id = str(record.raw["id"])
        previous = record.text("previousId") or before
        at = max(record.time("timestamp", now), at + 1)
        original = record.text("originalPrompt")
        version = {
            "id": ids.of(f"record:{record_id}"),
            "text": record.text("optimizedPrompt"),
            "parent": None if previous is None else ids.of(f"record:{previous}"),
            "kind": record.text("type") or "optimize",
            "note": record.text("iterationNote"),
            "device": "import",
            "at": at,
            "model": record.text("modelKey") or None,
            "model_name": record.text("modelName") or None,
            "template": record.text("templateId") or None,
        }
        if before is not None and original and original != inputs.get(previous or "", chain.original):
            version["input"] = original
        versions.append(version)
        before = record_id
    return versions


def prompt_of(chain: Chain, ids: Ids, now: int) -> dict[str, Any]:
    """The chain as a prompt of its own."""
    versions = versions_of(chain, ids, now)
    return {
        "id": ids.of(chain.key),
        "title": made_title(chain.original) or made_title(versions[-1]["text"]),
        "original": chain.original,
        "mode": mode_of(chain),
        "messages": messages_of(chain),
        "source": {"app": APP, "import_key": chain.key},
        "current": versions[-1]["id"],
        "versions": versions,
        "created_at": versions[0]["at"],
        "touched_at": versions[-1]["at"],
        "created_by": "import",
    }


def messages_of(chain: Chain) -> list[Any] | None:
    """The conversation that the newest record knows of."""
    for record in reversed(chain.records):
        snapshot = record.below("metadata").items("conversationSnapshot") if "metadata" in record.raw else []
        if snapshot:
            return snapshot
    return None


def mode_of(chain: Chain) -> Mode:
    """What its first record was made for."""
    first = chain.records[0]
    kind = first.text("type")
    if kind in _MODES:
        return _MODES[kind]
    metadata = first.below("metadata") if "metadata" in first.raw else Fields({}, first.source, first.findings)
    return mode_named(metadata.text("functionMode"), metadata.text("optimizationMode"), "")


def mode_named(function: str, optimization: str, image: str) -> Mode:
    """The mode that the app's two or three words for it mean."""
    match function:
        case "image":
            return {"image2image": Mode.IMAGE_IMAGE2IMAGE, "multiimage": Mode.IMAGE_MULTIIMAGE}.get(image, Mode.IMAGE_TEXT2IMAGE)
        case "context" | "pro":
            return Mode.PRO_VARIABLE if optimization == "user" else Mode.PRO_MULTI
    return Mode.BASIC_USER if optimization == "user" else Mode.BASIC_SYSTEM


def _chain(chain_id: str, records: list[Fields], now: int) -> Chain:
    ordered = sorted(records, key=lambda record: (_number(record), record.time("timestamp", now), str(record.raw["id"])))
    if len(ordered) > MOST_VERSIONS:
        ordered[0].tell(Reason.TOO_MANY, "versions")
        ordered = ordered[-MOST_VERSIONS:]
    if _number(ordered[0]) > 1:
        ordered[0].tell(Reason.LOST_ROOT)
    return Chain(id=chain_id, records=ordered)


def _number(record: Fields) -> int:
    return record.number("version", 1)
