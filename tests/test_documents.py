"""What the documents name is there: files and folders of this repository, other pages, settings, commands, refusals, metrics."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from auth.audit import Event
from server import cli, metrics
from server.answers import MODEL_CODES
from server.api import ANYWHERE
from server.config import ClientSettings, Settings
from server.errors import TABLE

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *(ROOT / name / "README.md" for name in ("protocol", "benchmarks"))]
FOLDERS = ("tests", "server", "storage", "crdt", "protocol", "benchmarks", "migrations", "deploy", "docs")
_NAMED = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*[\w/])`")
_LINKED = re.compile(r"\]\(([^):#]+)(?:#[^)]*)?\)")
_SETTING = re.compile(r"PROMPTSYNC_([A-Z_]*[A-Z])\b")
_COMMAND = re.compile(r"(?:^|bin/|`)promptsync ((?:[a-z][a-z-]* ?)+)([^`#|;)\n]*)", re.MULTILINE)
_OPTION = re.compile(r"--[a-z-]+")
_METRIC = re.compile(r"\bpromptsync_[a-z_]+")
_REFUSAL = re.compile(r"\b([45]\d\d) `([a-z]+(?:_[a-z]+)+)`|`([a-z]+(?:_[a-z]+)+)` ([45]\d\d)\b")
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


@each_page
def test_the_metrics_that_a_page_names_are_counted(page: Path) -> None:
    counted = {family.name + suffix for family in metrics.registry.collect() for suffix in ("", "_total")}
    cookie = {"promptsync_refresh"}
    assert set(_METRIC.findall(page.read_text())) <= counted | cookie


@each_page
def test_the_refusals_that_a_page_names_are_given_with_their_status(page: Path) -> None:
    given = {(answer.code, answer.status) for answer in TABLE.values()} | {*MODEL_CODES.items(), *ANYWHERE.items()}
    given |= {("unsupported_media_type", 415)}
    found = [(code or other, int(status or second)) for status, code, other, second in _REFUSAL.findall(page.read_text())]
    assert set(found) <= given


@pytest.fixture(scope="module")
def commands() -> Mapping[str, set[str]]:
    """Each command with its options."""
    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        patch.setattr("sys.argv", ["promptsync", "--help"])
        cli.main()
    return dict(_commands())


@each_page
def test_the_commands_that_a_page_names_exist_and_take_its_options(page: Path, commands: Mapping[str, set[str]]) -> None:
    for found, rest in _COMMAND.findall(page.read_text()):
        words = found.split()
        is_group = any(known.startswith(f"{words[0]} ") for known in commands)
        command = " ".join(words[: 1 + is_group])
        assert command in commands
        assert set(_OPTION.findall(rest)) <= commands[command] | {"--help"}


def _commands() -> Iterator[tuple[str, set[str]]]:
    for name, command in get_command(cli.app).commands.items():  # type: ignore[attr-defined]  # the application is a group of commands
        yield name, _options(command)
        for below, inner in getattr(command, "commands", {}).items():
            yield f"{name} {below}", _options(inner)


def _options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}
