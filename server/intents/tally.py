"""What became of a file's items: counted by sections, with what is to be told of single ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crdt.operations import Exists, Missing
from server.transfer.library_file import SECTIONS
from server.transfer.problems import MOST_TOLD, Reason
from server.transfer.reading import Reading

FOLLOWING = "prompts"
"""The one section that the slices of a file after the first have items of."""
OUTCOMES = ("created", "merged", "unchanged", "skipped")


class NotTaken(Exception):
    """An item that is not taken, and why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Tally:
    """The account of one file."""

    def __init__(self, reading: Reading) -> None:
        self._kind = reading.kind.value
        self._findings = reading.findings
        self._counts: dict[str, Counter[str]] = {section: Counter() for section in SECTIONS}

    def take(self, section: str, item: str, do: Callable[..., str], *about: Any) -> None:
        """Do what an item asks for, and count what became of it. One that cannot be written has changed nothing, and costs no other."""
        try:
            self._counts[section][do(*about)] += 1
        except NotTaken as error:
            self._findings.skip(self._kind, section, item, error.reason)
        except (Exists, Missing):
            self._findings.skip(self._kind, section, item, Reason.DAMAGED)
        except ValueError:
            self._findings.skip(self._kind, section, item, Reason.INVALID)

    def tell(self, section: str, item: str, reason: Reason, where: str | None = None) -> None:
        """Something of an item that is taken."""
        self._findings.tell(self._kind, section, item, reason, where)

    def report(self) -> Mapping[str, Any]:
        """All of it, as JSON has it."""
        findings = self._findings
        counts = {section: counted | Counter(skipped=findings.skipped[section]) for section, counted in self._counts.items()}
        return {
            "kind": self._kind,
            "sections": {section: {outcome: counted[outcome] for outcome in OUTCOMES} for section, counted in counts.items()},
            "problems": [
                {
                    "file": problem.file,
                    "section": problem.section,
                    "item": problem.item,
                    "code": problem.reason.value,
                    "where": problem.where,
                    "error": problem.is_error,
                }
                for problem in findings.problems
            ],
            "more_problems": findings.more_problems,
            "errors": findings.errors,
            "left_out": [{"place": each.place, "kind": each.kind} for each in findings.left_out],
            "more_left_out": findings.more_left_out,
            "resources_left_out": findings.resources,
        }


def together(reports: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What became of a file that was brought in in slices."""
    first, *more = reports
    problems = [problem for report in reports for problem in report["problems"]]
    prompts = {outcome: sum(report["sections"][FOLLOWING][outcome] for report in reports) for outcome in OUTCOMES}
    return {
        **first,
        "sections": {**first["sections"], FOLLOWING: prompts},
        "problems": problems[:MOST_TOLD],
        "more_problems": first["more_problems"] + sum(report["more_problems"] for report in more) + len(problems[MOST_TOLD:]),
        "errors": sum(report["errors"] for report in reports),
        "updates": len(reports),
    }
