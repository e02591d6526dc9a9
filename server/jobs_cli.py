"""`promptsync jobs`: what waits, runs, is stuck or has failed, and what to do about it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from server.database import ask
from server.terminal import explained, fail
from server.times import utc_now
from storage import job_records
from storage.job_records import HEARTBEAT_SECONDS, STATES, JobEvent, JobRecord
from storage.pool import Connection

app = typer.Typer(
    help="Background jobs: purges of deleted libraries and accounts, retention of updates and snapshots, pruning. "
    "`serve` runs them, and `promptsync worker`. Jobs that are done are not listed.",
    no_args_is_help=True,
)

STUCK_AFTER = timedelta(seconds=HEARTBEAT_SECONDS)
"""A running job that gave no sign for so long is stuck; a worker takes it over, if one runs."""
HISTORY_LINES = 50
ALL_AT_ONCE = 10_000
"""Jobs that `retry --failed` takes in one go."""
_COLOURS = {"failed": "red", "stuck": "yellow", "waiting": "yellow", "running": "green"}

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command("list")
def list_all(
    state: Annotated[str | None, typer.Option(help=f"Only these: {', '.join(STATES)}.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the jobs that are not done, failed ones first.

    A job is queued, waiting (it failed, or was put back, and is tried again later), running, stuck (its worker gives no sign:
    another takes the job over within half a minute, if one runs), or failed: held until you retry or discard it.
    """
    with explained():
        if state is not None and state not in STATES:
            fail(f"there is no state {state}: {', '.join(STATES)}")
        found, number = ask(lambda connection: _listed(connection, state, limit))
        if as_json:
            return typer.echo(json.dumps([_plain(record) for record in found], indent=2))
        if not found:
            return typer.echo("No jobs." if state is None else f"No job is {state}.")
        _print_table(found)
        rest = sum(count for name, count in number.items() if state in (None, name)) - len(found)
        if rest > 0:
            typer.echo(f"{rest} more: see them with --limit")
        if number["failed"]:
            typer.echo("See why with `promptsync jobs show ID`; then `promptsync jobs retry ID` (or --failed), or `discard ID`.")


@app.command()
def show(job_id: Annotated[int, typer.Argument(metavar="ID", help="As `list` shows it.")], as_json: AsJson = False) -> None:
    """Show one job: its state, each start and failure, and where it failed last."""
    with explained():
        record, events = ask(lambda connection: _shown(connection, job_id))
        if record is None and not events:
            fail(f"there is no job {job_id}, and the log remembers none; see `promptsync jobs list`")
        if as_json:
            return typer.echo(
                json.dumps({"job": _plain(record) if record else None, "history": [_plain(event) for event in events]}, indent=2)
            )
        if record is None:
            typer.echo(f"Job {job_id} is done.")
        else:
            _print_table([record])
        for event in events:
            said = "put back" if event.status == "queued" and event.reason else _SAID.get(event.status, event.status)
            typer.echo(f"{event.at:%Y-%m-%d %H:%M:%S}  {said:<10} {event.reason}".rstrip())
        if trace := next((event.trace for event in reversed(events) if event.trace), ""):
            typer.echo(f"\n{trace.rstrip()}")


_SAID = {"picked": "started", "successful": "done", "deleted": "discarded"}


@app.command()
def retry(
    job_ids: Annotated[list[int] | None, typer.Argument(metavar="ID...", help="As `list` shows them.", show_default=False)] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed.")] = False,
) -> None:
    """Try jobs again at once: failed, stuck or waiting ones. Their failures are forgotten, so they are held no sooner than new ones."""
    with explained():
        if bool(job_ids) == failed:
            fail("name the jobs to retry, or all that failed with --failed")
        left = ask(lambda connection: _retried(connection, job_ids or []))
        _tell_left(left, "retried")
        if not left:
            typer.echo("They run as soon as a server or a worker has room.")


@app.command()
def discard(
    job_ids: Annotated[list[int], typer.Argument(metavar="ID...", help="As `list` shows them.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; needed where nobody can answer.")] = False,
) -> None:
    """Remove jobs without doing them. What is still to be done is found again: a library to purge gets a new job within minutes."""
    with explained():
        if not yes and not typer.confirm(f"Remove {'this job' if len(job_ids) == 1 else f'these {len(job_ids)} jobs'} for good?"):
            fail("nothing was changed")
        left = ask(lambda connection: _discarded(connection, job_ids))
        _tell_left(left, "discarded")
        if not left:
            typer.echo("Discarded.")


def _tell_left(left: Sequence[int], done: str) -> None:
    if left:
        fail(f"not {done}, since they run, are done, or (for retry) the same job waits already: {', '.join(map(str, left))}")


async def _listed(connection: Connection, state: str | None, limit: int) -> tuple[list[JobRecord], dict[str, int]]:
    return (
        await job_records.jobs(connection, stuck_after=STUCK_AFTER, limit=limit, state=state),
        await job_records.counts(connection, stuck_after=STUCK_AFTER),
    )


async def _shown(connection: Connection, job_id: int) -> tuple[JobRecord | None, Sequence[JobEvent]]:
    found = await job_records.jobs(connection, stuck_after=STUCK_AFTER, limit=1, job_id=job_id)
    return next(iter(found), None), await job_records.history(connection, job_id, HISTORY_LINES)


async def _retried(connection: Connection, job_ids: Sequence[int]) -> list[int]:
    if not job_ids:
        job_ids = [job.id for job in await job_records.jobs(connection, stuck_after=STUCK_AFTER, limit=ALL_AT_ONCE, state="failed")]
    return [job_id for job_id in job_ids if not await job_records.retry(connection, job_id, stuck_after=STUCK_AFTER)]


async def _discarded(connection: Connection, job_ids: Sequence[int]) -> list[int]:
    return [job_id for job_id in job_ids if not await job_records.discard(connection, job_id, stuck_after=STUCK_AFTER)]


def _print_table(records: Sequence[JobRecord]) -> None:
    table = Table("id", "job", "of", "state", "since", "starts", "failures", "reason", box=None)
    now = utc_now()
    for record in records:
        colour = _COLOURS.get(record.state, "")
        state = f"[{colour}]{record.state}[/]" if colour else record.state
        since = _ago(now - record.changed) if record.state != "waiting" else f"due in {_ago(record.due - now)}"
        table.add_row(
            str(record.id), record.kind, record.subject, state, since, str(record.starts), str(record.failures), _cell(record.reason)
        )
    Console(soft_wrap=True).print(table)


def _cell(text: str) -> str:
    return text.replace("[", "\\[").replace("\n", " ")


def _ago(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _plain(value: JobRecord | JobEvent) -> dict[str, object]:
    return {name: part.isoformat() if isinstance(part, datetime) else part for name, part in asdict(value).items()}
