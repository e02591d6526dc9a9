"""`promptsync jobs` and `promptsync worker`: what an operator sees and does."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from server.jobs_cli import app
from tests.support.server import ROOT, wait_until

Command = Callable[..., Result]
TRACE = '{"exception_type": "RetryRequested", "exception_message": "ValueError: [bad] page", "traceback": "Traceback: here"}'


@pytest.fixture
def jobs(external: str) -> Command:
    """Runs `promptsync jobs ...`."""
    return lambda *arguments, **options: CliRunner().invoke(app, list(arguments), **options)


def execute(dsn: str, statement: str) -> list[asyncpg.Record]:
    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(dsn)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.fixture
def filled(database_dsn: str) -> str:
    """A database with a failed job (1), a stuck one (2), one that runs (3) and one that waits (4)."""
    execute(
        database_dsn,
        "INSERT INTO jobs_pgqueuer (priority, entrypoint, payload, dedupe_key, status, heartbeat, execute_after, attempts) VALUES"
        " (0, 'purge', 'one', 'purge:one', 'failed', now(), now(), 4),"
        " (0, 'purge', 'two', 'purge:two', 'picked', now() - interval '1 h', now(), 0),"
        " (0, 'purge', 'three', 'purge:three', 'picked', now(), now(), 0),"
        " (0, 'purge', 'four', 'purge:four', 'queued', now(), now() + interval '10 min', 1)",
    )
    execute(
        database_dsn,
        "INSERT INTO jobs_pgqueuer_log (job_id, status, priority, entrypoint, traceback) VALUES"
        " (1, 'queued', 0, 'purge', NULL), (1, 'picked', 0, 'purge', NULL), (1, 'failed', 0, 'purge', '" + TRACE + "')",
    )
    return database_dsn


def test_nothing_to_do_is_said_so(jobs: Command) -> None:
    assert jobs("list").output == "No jobs.\n"
    assert jobs("list", "--state", "stuck").output == "No job is stuck.\n"
    assert json.loads(jobs("list", "--json").output) == []
    assert "queued, waiting, running, stuck, failed" in jobs("list", "--state", "lost").output


def test_the_list_tells_what_failed_and_why(jobs: Command, filled: str) -> None:
    lines = jobs("list").output.splitlines()
    assert [line.split()[:4] for line in lines[1:5]] == [
        ["1", "purge", "one", "failed"],
        ["2", "purge", "two", "stuck"],
        ["3", "purge", "three", "running"],
        ["4", "purge", "four", "waiting"],
    ]
    assert "ValueError: [bad] page" in lines[1]
    assert "due in 9 min" in lines[4]
    assert "promptsync jobs retry" in lines[5]
    assert "3 more" in jobs("list", "--limit", "1").output
    (record,) = json.loads(jobs("list", "--state", "failed", "--json").output)
    assert (record["id"], record["subject"], record["failures"], record["starts"]) == (1, "one", 4, 1)
    assert record["reason"] == "ValueError: [bad] page"


def test_a_job_is_shown_with_its_history(jobs: Command, filled: str) -> None:
    shown = jobs("show", "1").output
    assert "started" in shown
    assert "Traceback: here" in shown
    whole = json.loads(jobs("show", "1", "--json").output)
    assert whole["job"]["state"] == "failed"
    assert [event["status"] for event in whole["history"]] == ["queued", "picked", "failed"]
    execute(filled, "DELETE FROM jobs_pgqueuer")
    assert "Job 1 is done" in jobs("show", "1").output
    missing = jobs("show", "77")
    assert (missing.exit_code, missing.output) == (
        1,
        "promptsync: there is no job 77, and the log remembers none; see `promptsync jobs list`\n",
    )


def test_failed_and_stuck_jobs_are_retried_and_running_ones_left_alone(jobs: Command, filled: str) -> None:
    assert jobs("retry").exit_code == 1
    assert jobs("retry", "1", "--failed").exit_code == 1
    assert jobs("retry", "--failed").exit_code == 0
    assert jobs("retry", "2", "4").exit_code == 0
    refused = jobs("retry", "3", "99")
    assert refused.exit_code == 1
    assert refused.output.endswith(": 3, 99\n")
    assert [row["status"] for row in execute(filled, "SELECT status::text FROM jobs_pgqueuer ORDER BY id")] == [
        "queued",
        "queued",
        "picked",
        "queued",
    ]


def test_jobs_are_discarded_after_asking(jobs: Command, filled: str) -> None:
    assert "nothing was changed" in jobs("discard", "1", input="n\n").output
    assert jobs("discard", "1", input="").exit_code == 1
    assert jobs("discard", "1", "2", "--yes").output == "Discarded.\n"
    assert jobs("discard", "3", "--yes").exit_code == 1
    assert [row["id"] for row in execute(filled, "SELECT id FROM jobs_pgqueuer ORDER BY id")] == [3, 4]


def test_an_old_schema_and_a_database_that_is_away_are_told(jobs: Command, empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSYNC_DATABASE_URL", empty_database)
    assert "promptsync migrate" in jobs("list").output
    monkeypatch.setenv("PROMPTSYNC_DATABASE_URL", "postgresql://nobody@/nowhere?host=/nonexistent")
    assert "cannot connect to the database" in jobs("list").output


@contextmanager
def worker(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """`promptsync worker`, as a person would start it."""
    with (tmp_path / "worker.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "server.cli", "worker"], cwd=ROOT, stdout=log, stderr=log, text=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_worker_does_what_is_there_and_ends_when_told(external: str, tmp_path: Path, number: int) -> None:
    execute(external, "INSERT INTO jobs_pgqueuer (priority, entrypoint, payload, status) VALUES (0, 'sweep', '', 'queued')")
    with worker(tmp_path) as process:

        def done() -> bool:
            return not execute(external, "SELECT 1 FROM jobs_pgqueuer")

        wait_until(done, within=30, what="the end of the job")
        process.send_signal(number)
        assert process.wait(5) == 0
    said = (tmp_path / "worker.log").read_text()
    assert said.startswith("promptsync worker runs background jobs")
    assert "Traceback" not in said
    assert "jobs_pgqueuer" not in said


def test_a_worker_without_a_database_says_so(external: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSYNC_DATABASE_URL", "postgresql://nobody@/nowhere?host=/nonexistent")
    with worker(tmp_path) as process:
        assert process.wait(20) == 1
    said = (tmp_path / "worker.log").read_text()
    assert said.startswith("promptsync: cannot connect to the database")
    assert "Traceback" not in said
