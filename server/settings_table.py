"""The README's table of settings, made from the settings class: `python -m server.settings_table --write README.md`."""

import sys
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from server.config import Settings

BEGIN, END = "<!-- settings: made by `make settings` -->", "<!-- end of settings -->"


def table() -> str:
    """One row a setting: its name in the environment, its default and what it is for (GitHub markdown)."""
    rows = [f"| `PROMPTSYNC_{name.upper()}` | {_default(field)} | {field.description} |" for name, field in Settings.model_fields.items()]
    return "\n".join(["| setting | default | what it is for |", "|---|---|---|", *rows])


def written_into(text: str) -> str:
    """`text` with what stands between the two marks replaced by the table."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is None or value in ("", ()):
        return "–"
    if isinstance(value, int) and value >= 1 << 16:
        return f"`{value}` ({value >> 20} MiB)" if value % (1 << 20) == 0 else f"`{value}`"
    return f"`{value}`"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        path = Path(sys.argv[2])
        path.write_text(written_into(path.read_text()))
    else:
        print(table())
