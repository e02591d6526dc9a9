"""What the documents name is there: files and folders of this repository, other pages, settings, commands."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from typer.main import get_command

from auth.audit import Event
from server import cli
from server.config import ClientSettings, Settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *(ROOT / name / "README.md" for name in ("protocol", "benchmarks"))]
FOLDERS = ("tests", "server", "storage", "crdt", "protocol", "benchmarks", "migrations", "deploy", "docs")
_NAMED = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*[\w/])`")
_LINKED = re.compile(r"\]\(([^):#]+)(?:#[^)]*)?\)")
_SETTING = re.compile(r"PROMPTSYNC_([A-Z_]*[A-Z])\b")
_COMMAND = re.compile(r"(?:^|bin/|`)promptsync ((?:[a-z][a-z-]* ?)+)", re.MULTILINE)
each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


@each_page
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text()
    assert [name for name in _NAMED.findall(text) if not (ROOT / name).exists()] == []
    assert [name for name in _LINKED.findall(text) if not (page.parent / name).exists()] == []


def test_each_event_of_the_audit_log_is_explained() -> None:
    page = (ROOT / "docs" / "accounts-operations.md").read_text()
    assert [event.value for event in Event if f"`{event.value}`" not in page] == []


@each_page
def test_the_settings_that_a_page_names_exist(page: Path) -> None:
    known = {name.upper() for model in (Settings, ClientSettings) for name in model.model_fields}
    assert set(_SETTING.findall(page.read_text())) <= known


@pytest.fixture(scope="module")
def commands() -> set[str]:
    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        patch.setattr("sys.argv", ["promptsync", "--help"])
        cli.main()
    return set(_commands())


@each_page
def test_the_commands_that_a_page_names_exist(page: Path, commands: set[str]) -> None:
    for found in _COMMAND.findall(page.read_text()):
        words = found.split()
        is_group = any(known.startswith(f"{words[0]} ") for known in commands)
        assert " ".join(words[: 1 + is_group]) in commands


def _commands() -> Iterator[str]:
    for name, command in get_command(cli.app).commands.items():  # type: ignore[attr-defined]  # the application is a group of commands
        yield name
        for below in getattr(command, "commands", {}):
            yield f"{name} {below}"
