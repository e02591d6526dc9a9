"""docs/accounts-operations.md says what each line of the audit log means."""

import re
from pathlib import Path

from auth.audit import Event

PAGE = Path(__file__).resolve().parents[2] / "docs/accounts-operations.md"


def test_the_table_has_every_event() -> None:
    rows = PAGE.read_text().partition("| event | means |")[2].partition("\n\n")[0].splitlines()[2:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(event.value for event in Event)
