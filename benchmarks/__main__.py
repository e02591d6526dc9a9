"""`python -m benchmarks`: measure a real server on this machine and print a table."""

import argparse
import json
import signal
import sys
from contextlib import nullcontext
from dataclasses import asdict
from urllib.parse import urlsplit

from benchmarks.auth import auth
from benchmarks.disturbance import disturbance
from benchmarks.machine import describe
from benchmarks.models import models
from benchmarks.rest import rest
from benchmarks.scenarios import WORKS as WORKS_ON_ANY
from benchmarks.scenarios import Peer, Plan, Row, own_server, table
from benchmarks.several import several
from benchmarks.transfer import transfer

WORKS = WORKS_ON_ANY | {"several": several, "beside": disturbance, "rest": rest, "transfer": transfer, "auth": auth, "models": models}
"""The last six only on servers of our own."""

EXAMPLES = """\
works:
  relay    20 libraries of two devices, edits counted when the other device has them (committed by then)
  latency  one device to one device, one edit at a time: from sending to the arrival at the other
  fanout   one library of 100 devices, one of which writes
  open     500 devices reconnect at once after a restart of the server: new ones, then ones that are up to date
  idle     memory of the server for each connection that does nothing
  several  CPU for a delivery by two processes against one, in turns: workers on one port, and separate servers
  beside   another library's p99 while much is compacted or purged, against without
  rest     lists, searches, edits and batches over REST in a library of 7 MB, and another library's p99 meanwhile
  transfer an export of that library and imports of it, and another library's p99 meanwhile
  auth     logins, forgotten passwords and registrations of known and unknown addresses: whether the time tells which
  models   a call of a model through the server against the same call straight, a streamed piece, and a relay beside 200 streams

examples:
  python -m benchmarks                          everything, some twenty minutes
  python -m benchmarks relay --runs 5           only the relay, median of five
  python -m benchmarks latency --seconds 20     more samples for the p99
  python -m benchmarks relay --peer ws://127.0.0.1:1234 --peer-pid 4711
                                                the same load on another y-websocket server that runs already

Each run ends with a proof: what arrived is exactly what was sent, and a new device gets all of it from the server.
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", nargs="*", choices=[*WORKS, "all"], default="all", help="what to measure (default: all)")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time of a run (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=2.0, help="seconds of load before (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each work, of which the median counts (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print every number as JSON instead of a table")
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="a setting of our server, without PROMPTSYNC_; repeatable"
    )
    parser.add_argument("--peer", metavar="ws://HOST:PORT", help="measure this server instead of ours; any path is a document there")
    parser.add_argument("--peer-pid", type=int, help="its process, for the CPU times")
    chosen = parser.parse_args()
    chosen.settings = {f"PROMPTSYNC_{name.upper()}": value for name, _, value in (each.partition("=") for each in chosen.set)}
    if not 0 < chosen.seconds <= 120 or not 0 <= chosen.warm_up <= 60 or not 1 <= chosen.runs <= 50:
        parser.error("seconds are more than 0 and at most 120, warm-up at most 60, runs 1 to 50")
    return chosen


def main() -> None:
    chosen = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server and its data are removed then too
    plan = Plan(seconds=chosen.seconds, runs=chosen.runs, warm_up=chosen.warm_up)
    asked = {chosen.work} if isinstance(chosen.work, str) else set(chosen.work)
    works = [name for name in (WORKS_ON_ANY if chosen.peer else WORKS) if name in asked or "all" in asked]
    rows: list[Row] = []
    machine = describe(None)
    for name in works:
        # a server of its own for each: what one work leaves in memory is not another's
        with nullcontext(_peer(chosen)) if chosen.peer else own_server(chosen.settings) as subject:
            if not chosen.peer:
                machine = describe(subject.server.postmaster())
            for row in WORKS[name](subject, plan):
                rows.append(row)
                print(f"{row.work}: {row.value:,.2f} {row.unit} {row.note}", file=sys.stderr, flush=True)
    if chosen.json:
        print(json.dumps({"machine": machine, "seconds": plan.seconds, "runs": plan.runs, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        print(f"{machine}. Load generator, server and PostgreSQL share the cores; PostgreSQL syncs to disk. ", end="")
        print(f"Medians of {plan.runs} runs of {plan.seconds:g} s.\n\n{table(rows)}")


def _peer(chosen: argparse.Namespace) -> Peer:
    address = urlsplit(chosen.peer)
    return Peer(address.hostname or "127.0.0.1", address.port or 80, chosen.peer_pid)


if __name__ == "__main__":
    main()
