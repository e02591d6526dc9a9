"""`python -m tests.torture`: kill, pause, cut and stall real processes under load, round after round, and count what is lost."""

import argparse
import asyncio
import random
import resource
import signal
import sys
import time

from rich.console import Console

from tests.torture.runs import CASES, Plan, Report, run, table

EPILOG = """\
Each round opens fresh libraries, lets devices write, does what its case is called, and then looks for every update that any device was told
is stored or was shown: in the database itself, and on a device without any data, before those who wrote it come back. The cases that kill
take turns until there were ROUNDS of them; each of those that wait (a pause, a stall), which takes many seconds, comes a tenth as often as
one that kills. Edits that were lost, and rounds that failed in any way, are listed with their seed; the exit code is 1 then.

examples:
  python -m tests.torture                                  everything: some forty minutes
  python -m tests.torture --rounds 20                      a short one
  python -m tests.torture --only "server killed" --seed 7 --rounds 1
  python -m tests.torture --only crowd --sockets 10000     sockets that come back in waves
"""


def arguments() -> Plan:
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200, help="rounds of the cases that kill, in all (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="CASE", help=f"words that a case's name must contain; cases: {', '.join(CASES)}")
    parser.add_argument("--seed", type=int, help="the first round's seed; each further round has the next (default: drawn, and printed)")
    parser.add_argument("--minutes", type=float, default=240.0, help="no round begins later than this (default: %(default)s)")
    parser.add_argument("--sockets", type=int, default=10_000, help="sockets of the crowd (default: %(default)s)")
    chosen = parser.parse_args()
    if not 1 <= chosen.rounds <= 100_000 or chosen.minutes <= 0 or not 20 <= chosen.sockets <= 15_000:
        parser.error("rounds are 1 to 100,000, minutes more than 0, sockets 20 to 15,000")
    names = [name for name in CASES if not chosen.only or any(word.lower() in name.lower() for word in chosen.only)]
    if not names:
        parser.error(f"no case is called so; there are: {', '.join(CASES)}")
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1 << 24)
    return Plan(names=names, rounds=chosen.rounds, seed=seed, deadline=time.monotonic() + chosen.minutes * 60, sockets=chosen.sockets)


def main() -> None:
    plan = arguments()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers and their data are removed then too
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    console.print(f"seed {plan.seed}, {plan.rounds} rounds")
    report = Report()
    try:
        asyncio.run(run(plan, report, console))
    except KeyboardInterrupt:
        console.print("interrupted: this is how far it came")
    console.print(table(report))
    for failure in report.failures:
        console.print(failure, markup=False)
    sys.exit(1 if report.failures or any(row.lost for row in report.rows.values()) else 0)


if __name__ == "__main__":
    main()
