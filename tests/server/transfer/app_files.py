"""Reading Prompt Optimizer's files in tests."""

import json
from typing import Any
from uuid import UUID

from server.transfer.fields import Ids
from server.transfer.library_file import FilePrompt
from server.transfer.problems import Findings
from server.transfer.reading import Reading, read

LIBRARY = UUID("6f1b2a3c-0000-4000-8000-000000000001")
NOW = 1_800_000_000_000
IDS = Ids(LIBRARY)


def reading_of(value: Any) -> Reading:
    """The file, read; a value as JSON."""
    return read(value if isinstance(value, bytes) else json.dumps(value).encode(), LIBRARY, NOW)


def told(findings: Findings) -> list[tuple[str, str, str, str | None]]:
    return [(each.section, each.item, each.reason.value, each.where) for each in findings.problems]


def prompts_of(reading: Reading) -> dict[str, FilePrompt]:
    """The prompts by their import keys."""
    return {each.source["import_key"]: each for each in reading.library.prompts}


def texts(prompt: FilePrompt) -> list[str]:
    return [version.text for version in prompt.versions]
