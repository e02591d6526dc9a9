"""docs/limits.md says what there is, and 429 always says when to come again."""

import re
from pathlib import Path

from server.config import Settings
from server.errors import TABLE, TooManyAttempts, problem_of

ROOT = Path(__file__).resolve().parents[3]
NAMED = re.compile(r'(?:\bRate\(|\ba_minute\(|\bBuckets\(|\bnote\(|\brefusal\(|_failures\(counters,)\s*"(\w+)"')


def rows() -> list[list[str]]:
    lines = (ROOT / "docs/limits.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]


def test_the_table_has_every_limit_by_its_name() -> None:
    named = {name for path in (ROOT / "server").rglob("*.py") for name in NAMED.findall(path.read_text())}
    assert sorted(row[0].strip("`") for row in rows() if row[0]) == sorted(named)


def test_the_table_has_every_setting_with_its_default() -> None:
    for row in rows():
        field = Settings.model_fields[row[2].strip("`").removeprefix("PROMPTSYNC_").lower()]
        assert row[3].split("`")[1] == str(field.default), row


def test_429_always_says_when_to_come_again() -> None:
    assert problem_of(TooManyAttempts(0)).retry_after == 1
    for kind, answer in TABLE.items():
        if answer.status == 429 and kind is not TooManyAttempts:
            assert answer.retry_after, kind
