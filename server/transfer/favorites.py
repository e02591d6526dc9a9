"""Prompt Optimizer's favorites: each becomes a prompt, with its asset's versions and the chain of history that it was saved from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from crdt.library import Mode
from server.transfer.bounds import MOST_VERSIONS
from server.transfer.fields import MAX_ID, Fields, Ids
from server.transfer.history import APP, Chain, messages_of, mode_named, versions_of
from server.transfer.problems import Reason

_MODES = {mode.value: mode for mode in Mode} | {"pro-conversation": Mode.PRO_MULTI}
_NO_SYNC = ("gardenSnapshot",)


class Favorite:
    """One favorite of a file."""

    def __init__(self, fields: Fields, ids: Ids, now: int) -> None:
        """The caller has made sure that it has an id and a text."""
        self.fields = fields
        self._ids = ids
        self.id = str(fields.raw["id"])
        self.key = f"fav:{self.id}"
        self._metadata = fields.below("metadata") if "metadata" in fields.raw else Fields({}, fields.source, fields.findings)
        self._asset = self._metadata.below("promptAsset")
        self.created_at = fields.time("createdAt", now)
        self._touched_at = fields.time("updatedAt", self.created_at)
        self.record = self._metadata.text("sourceHistoryId")
        """The record of history that it was saved from."""
        self._version_of: dict[str, str] = {}  # the asset's own ids of versions -> ours

    def prompt(self, chain: Chain | None, category: str | None, now: int) -> dict[str, Any]:
        """The favorite as a prompt; with the chain's versions before its own, if there is one."""
        fields, metadata = self.fields, self._metadata
        own, current, messages = self._versions()
        source = {"app": APP, "import_key": self.key}
        if self.record:
            source["record"] = self._ids.of(f"record:{self.record}")
        if chain is not None:
            source["chain"] = chain.key
        content = fields.text("content")
        original = metadata.text("originalContent") or (chain.original if chain is not None else "")
        for name in _NO_SYNC:
            if metadata.raw.get(name) is not None:
                metadata.tell(Reason.FIELD_LEFT_OUT, name)
        return {
            "id": self._ids.of(self.key),
            "title": fields.title(fields.text("title"), content),
            "description": fields.text("description"),
            "original": original,
            "mode": self._mode(),
            "tags": [tag for tag in fields.items("tags") if isinstance(tag, str) and tag.strip()],
            "category": category,
            "favorite": True,
            "variables": self._variables(),
            "messages": messages or (messages_of(chain) if chain is not None else None),
            "examples": self._examples(),
            "media": self._media(),
            "source": source,
            "current": current,
            "versions": [*(versions_of(chain, self._ids, now) if chain is not None else ()), *own],
            "uses": {"import": uses} if (uses := fields.number("useCount", 0)) else {},
            "created_at": self.created_at,
            "touched_at": max(self._touched_at, self.created_at),
            "created_by": "import",
        }

    def _versions(self) -> tuple[list[dict[str, Any]], str, list[Any] | None]:
        """Those of the asset, oldest first, and the text that is shown if it is none of theirs; which is used; and its messages.

        They are known again by their texts: the app makes the asset anew at each save, under the same ids.
        """
        made: list[dict[str, Any]] = []
        occurred: Counter[str] = Counter()
        messages: dict[str, list[Any]] = {}
        wanted = self._asset.text("currentVersionId")
        current: str | None = None
        for each in self._asset_versions():
            text, spoken = _content(each.raw.get("content"))
            if spoken is not None and each.text("id") == wanted:
                text = self.fields.text("content") or text  # the app's own text of it
            if text is None:
                each.tell(Reason.FIELD_LEFT_OUT, "content")
                continue
            version = self._version(text, each.time("createdAt", self.created_at), each.below("metadata"), made, occurred)
            made.append(version)
            if spoken is not None:
                messages[version["id"]] = spoken
            self._version_of[each.text("id")] = version["id"]
            if each.text("id") == wanted:
                current = version["id"]
        shown = self.fields.text("content")
        if not made or (shown and not any(version["text"] == shown for version in made)):
            made.append(self._version(shown, self._touched_at, self._metadata, made, occurred))
        current = current or made[-1]["id"]
        for version_id in messages:
            if version_id != current:
                self.fields.tell(Reason.MESSAGES_AS_TEXT, "versions")
        return made, current, messages.get(current)

    def _asset_versions(self) -> Sequence[Fields]:
        raw = [each for each in self._asset.items("versions") if isinstance(each, dict)]
        if len(raw) < len(self._asset.items("versions")):
            self._asset.tell(Reason.FIELD_LEFT_OUT, "versions")
        found = [Fields(each, self.fields.source, self.fields.findings, within="versions.") for each in raw]
        found.sort(key=lambda each: each.number("version", 1))
        if len(found) > MOST_VERSIONS:
            self.fields.tell(Reason.TOO_MANY, "versions")
        return found[-MOST_VERSIONS:]

    def _version(self, text: str, at: int, metadata: Fields, before: Sequence[Mapping[str, Any]], occurred: Counter[str]) -> dict[str, Any]:
        digest = hashlib.sha256(text.encode()).hexdigest()
        occurred[digest] += 1
        told = metadata if metadata.raw.get("modelKey") else self._metadata
        from_record = self._ids.of(f"record:{self.record}") if self.record else None
        return {
            "id": self._ids.of(f"{self.key}/text:{digest}:{occurred[digest]}"),
            "text": text,
            "parent": before[-1]["id"] if before else from_record,
            "kind": "asset",
            "device": "import",
            "at": max(at, before[-1]["at"] + 1) if before else at,
            "model": told.text("modelKey") or None,
            "model_name": told.text("modelName") or None,
            "template": told.text("templateId") or None,
        }

    def _mode(self) -> Mode:
        named = self._asset.below("contract").text("modeKey") if self._asset.raw else ""
        if named in _MODES:
            return _MODES[named]
        fields = self.fields
        return mode_named(fields.text("functionMode"), fields.text("optimizationMode"), fields.text("imageSubMode"))

    def _variables(self) -> dict[str, Any]:
        contract = self._asset.below("contract").items("variables") if self._asset.raw else []
        listed = contract or self._metadata.below("reproducibility").items("variables")
        named = [each for each in listed if isinstance(each, dict) and isinstance(each.get("name"), str) and each["name"]]
        if len(named) < len(listed):
            self._metadata.tell(Reason.FIELD_LEFT_OUT, "variables")
        return {each["name"]: {name: value for name, value in each.items() if name != "name"} for each in named}

    def _examples(self) -> dict[str, Any]:
        listed = self._asset.items("examples") or self._metadata.below("reproducibility").items("examples")
        examples: dict[str, Any] = {}
        for number, each in enumerate(listed):
            if not isinstance(each, dict):
                self._metadata.tell(Reason.FIELD_LEFT_OUT, "examples")
                continue
            name = each.get("id")
            example = {key: value for key, value in each.items() if key != "source"}
            if each.get("basedOnVersionId") in self._version_of:
                example["basedOnVersionId"] = self._version_of[each["basedOnVersionId"]]
            examples[name if isinstance(name, str) and name else f"example-{number + 1}"] = example
        return examples

    def _media(self) -> list[str]:
        """The ids of its images, its cover first. Addresses are kept beside them, images within the text of an address are not."""
        media = self._metadata.below("media") if "media" in self._metadata.raw else Fields({}, self.fields.source, self.fields.findings)
        named = [media.raw.get("coverAssetId"), *media.items("assetIds"), media.raw.get("coverUrl"), *media.items("urls")]
        kept = [each for each in named if isinstance(each, str) and each and not each.startswith("data:")]
        if any(isinstance(each, str) and each.startswith("data:") for each in named):
            media.tell(Reason.FIELD_LEFT_OUT, "urls")
        return list(dict.fromkeys(kept))


def favorites_of(items: Sequence[Fields], ids: Ids, now: int) -> list[Favorite]:
    """The favorites among the items; the others are skipped."""
    found: list[Favorite] = []
    seen: set[str] = set()
    for fields in items:
        favorite_id = fields.raw.get("id")
        if not isinstance(favorite_id, str) or not 0 < len(favorite_id) <= MAX_ID:
            fields.skip(Reason.INVALID, "id")
        elif favorite_id in seen:
            fields.skip(Reason.DUPLICATE)
        elif not isinstance(fields.raw.get("content"), str) and not isinstance(fields.raw.get("metadata"), dict):
            fields.skip(Reason.INVALID, "content")
        else:
            seen.add(favorite_id)
            found.append(Favorite(fields, ids, now))
    return found


def _content(value: Any) -> tuple[str | None, list[Any] | None]:
    """The text of an asset's content, and its messages where it is a conversation; None for what is neither."""
    if isinstance(value, str):
        return value, None
    if not isinstance(value, dict):
        return None, None
    if isinstance(value.get("text"), str):
        return value["text"], None
    messages = value.get("messages")
    if not isinstance(messages, list):
        return None, None
    said = [each["content"] for each in messages if isinstance(each, dict) and isinstance(each.get("content"), str)]
    return "\n\n".join(said), messages
