"""What a Prompt Optimizer file holds, put together from whatever files it came in: each item with the place that it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.transfer.bounds import taken
from server.transfer.fields import Fields, Source
from server.transfer.json_text import TooDeep
from server.transfer.own_file import named
from server.transfer.problems import Findings, Reason
from server.transfer.secrets import content_without_secrets, setting_without_secrets, variable_without_secret, without_secrets

MOST_RECORDS = 20_000
"""Records of history that are taken from one file; the app keeps 50. Those past it are skipped (`too_many`)."""
NOTHING = "[object Object]"
"""What the app's export writes in place of settings that are objects: their content is lost already."""


@dataclass(slots=True)
class AppParts:
    """Items without their secrets, in the order of the files."""

    findings: Findings
    history: list[Fields] = field(default_factory=list)
    favorites: list[Fields] = field(default_factory=list)
    categories: list[Fields] = field(default_factory=list)
    tags: list[tuple[Source, Any]] = field(default_factory=list)
    templates: list[Fields] = field(default_factory=list)
    contexts: list[Fields] = field(default_factory=list)
    models: list[Fields] = field(default_factory=list)
    image_models: list[Fields] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    variables: list[tuple[Source, str, Any]] = field(default_factory=list)

    def add(self, into: list[Fields], file: str, section: str, raw: Sequence[Any], *, plain: frozenset[str] = frozenset()) -> None:
        """Take items in, without their secrets; what is no map is skipped."""
        for number, each in enumerate(self._bounded(raw, file, section, into)):
            source = Source(file, section, named(each, number, *plain))
            clean = self._clean(source, each, plain)
            if isinstance(clean, dict):
                into.append(Fields(clean, source, self.findings))
            elif clean is not _SKIPPED:
                self.findings.skip(*source, Reason.INVALID)

    def add_tags(self, file: str, raw: Sequence[Any]) -> None:
        """Take tags in."""
        for number, each in enumerate(taken(raw, file, "tags", self.findings)):
            self.tags.append((Source(file, "tags", f"#{number + 1}"), each))

    def add_setting(self, file: str, name: str, value: Any) -> None:
        """Take a setting in, unless there is nothing in it."""
        if value == NOTHING:
            self.findings.skip(file, "preferences", name, Reason.NOTHING_IN_IT)
            return
        try:
            clean = setting_without_secrets(name, value, f"preferences/{name}", self.findings.leave_out)
        except TooDeep:
            self.findings.skip(file, "preferences", name, Reason.TOO_DEEP)
            return
        if clean is not None:
            self.settings[name] = clean

    def add_variables(self, file: str, raw: Any) -> None:
        """Take the global variables in."""
        if not isinstance(raw, dict):
            self.findings.tell(file, "variables", "variables", Reason.INVALID)
            return
        for name, value in taken(list(raw.items()), file, "variables", self.findings):
            source = Source(file, "variables", name)
            clean = self._variable(source, value)
            if clean is not _SKIPPED and clean is not None:
                self.variables.append((source, name, clean))

    def _bounded(self, raw: Sequence[Any], file: str, section: str, into: list[Fields]) -> Iterable[Any]:
        if into is not self.history:
            return taken(raw, file, section, self.findings)
        if len(raw) > MOST_RECORDS:
            self.findings.tell(file, section, f"#{MOST_RECORDS}", Reason.TOO_MANY)
        return raw[:MOST_RECORDS]

    def _clean(self, source: Source, raw: Any, plain: frozenset[str]) -> Any:
        place = f"{source.section}/{source.item}"
        found = self.findings.leave_out
        if source.section == "models":
            return self._guarded(source, lambda: without_secrets(raw, place, found, plain=plain))
        return self._guarded(source, lambda: content_without_secrets(raw, place, found))

    def _variable(self, source: Source, value: Any) -> Any:
        place = f"{source.section}/{source.item}"
        return self._guarded(source, lambda: variable_without_secret(source.item, value, place, self.findings.leave_out))

    def _guarded(self, source: Source, clean: Callable[[], Any]) -> Any:
        try:
            return clean()
        except TooDeep:
            self.findings.skip(*source, Reason.TOO_DEEP)
            return _SKIPPED


_SKIPPED = object()
