"""A real server process for tests: started, asked, killed, started again on the same data, and removed."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from storage import embedded
from tests.support import ready_made
from tests.support.forge import Forked, forge
from tests.support.generous import GENEROUS

COMMAND: Sequence[str] = (sys.executable, "-m", "server.cli")
Process: TypeAlias = subprocess.Popen[bytes] | Forked
ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
"""The first start makes a database cluster; a loaded machine needs its time."""
STOP_SECONDS = 10.0
"""The promise: SIGTERM and SIGINT stop everything in order within this."""
POLL_SECONDS = 0.02

GENEROUS_LIMITS = {f"PROMPTSYNC_{name.upper()}": str(number) for name, number in GENEROUS.items()}


class ServerFailed(AssertionError):
    """The server did not do what the harness waited for; the message ends with what it printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A registered user of the server under test."""

    email: str
    password: str
    access_token: str
    refresh_token: str
    sync_token: str
    library_id: str


def wait_until(condition: Callable[[], bool], *, within: float, what: str) -> None:
    """Poll `condition` until it holds; raise AssertionError naming `what` after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {within} s")
        time.sleep(POLL_SECONDS)


class Server:
    """A server process on a data folder of its own, which outlives the process and goes with `cleanup`.

    Settings are the durable defaults (PostgreSQL syncs to disk) with generous rate limits; `env` adds to them. Unless it is to be `fresh`,
    its folder is a copy of one that a server has started on before. `options` are those of `promptsync serve`. Unless it is `forked`, it is
    started as an operator does.
    """

    def __init__(
        self, *, env: Mapping[str, str] | None = None, options: Sequence[str] = (), fresh: bool = False, forked: bool = True
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="promptsync-test-"))
        self.data_dir = self.folder / "data"
        self.log_file = self.folder / "server.log"
        self.port = 0
        self.process: Process | None = None
        self._arguments = ["serve", *options]
        self._is_forked = forked
        self._env = dict(env or {})
        self._is_fresh = fresh or "PROMPTSYNC_DATABASE_URL" in self._env

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self, *, within: float = START_SECONDS) -> Self:
        """Start the process and wait until it commits; the port stays the same from the first start on."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        self.process = self.spawn()
        try:
            wait_until(self._ready, within=within, what="readiness")
        except AssertionError as error:
            self._end()
            raise ServerFailed(f"{error}\n{self.output()}") from None
        return self

    def spawn(self, *, port: int | None = None) -> Process:
        """Start a process on this data folder and return at once; the caller ends it (`start` does all that)."""
        if not self._is_fresh and not self.data_dir.exists():
            ready_made.copy_to(self.data_dir)
        env = self.environment() | ({} if port is None else {"PORT": str(port)})
        with self.log_file.open("ab") as log:
            if self._is_forked:
                return forge().start(self._arguments, env, ROOT, log.fileno())
            # a session of its own: a Ctrl-C at the tests must not reach it
            command = [*COMMAND, *self._arguments]
            return subprocess.Popen(
                command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def set(self, **settings: str) -> None:
        """Start with these settings (`compact_updates="10"`) from the next start on."""
        self._env |= {f"PROMPTSYNC_{name.upper()}": value for name, value in settings.items()}

    def environment(self) -> dict[str, str]:
        """What the process is started with, and what a command about the same server has to be."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("PROMPTSYNC_")}
        env |= GENEROUS_LIMITS | {"PROMPTSYNC_DATA_DIR": str(self.data_dir), "HOST": "127.0.0.1"}
        return env | {"PORT": str(self.port), "PYTHONUNBUFFERED": "1"} | self._env

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise ServerFailed(f"it ended with exit code {self.process.returncode}")
        facts = self.facts()
        if facts.get("pid") != self.process.pid:
            return False  # what an earlier process left behind
        self.port = facts["port"]
        return self.answers("/healthz") and self.answers("/readyz")

    def terminate(self, number: signal.Signals = signal.SIGTERM, *, within: float = STOP_SECONDS) -> float:
        """Ask the process to stop and return the seconds it took.

        Raises ServerFailed when it does not end with code 0 within `within` seconds.
        """
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(number)
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"it did not stop within {within} s of {number.name}\n{self.output()}") from None
        if code != 0:
            raise ServerFailed(f"it ended with exit code {code} after {number.name}\n{self.output()}")
        return time.monotonic() - began

    def kill9(self) -> None:
        """SIGKILL the server process alone; its PostgreSQL is left to itself."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def kill9_postgres(self) -> None:
        """SIGKILL the postmaster alone, if it runs: it goes by itself soon after its server."""
        postmaster = self.postmaster()
        if postmaster is not None:
            with suppress(ProcessLookupError):
                os.kill(postmaster, signal.SIGKILL)
            wait_until(lambda: not _runs_postgres(postmaster), within=10, what="the end of PostgreSQL")

    def wait_for_postgres_after(self, former: int, *, within: float = START_SECONDS) -> None:
        """Wait until another PostgreSQL than the process `former` runs and commits."""

        def another() -> bool:
            postmaster = self.postmaster()
            return postmaster not in (None, former) and self.answers("/readyz")

        try:
            wait_until(another, within=within, what="another PostgreSQL")
        except AssertionError as error:
            raise ServerFailed(f"{error}\n{self.output()}") from None

    def cleanup(self) -> None:
        """End what still runs and remove the data, the cluster and the log."""
        self._end()
        embedded.remove(self.data_dir)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.cleanup()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and hasattr(error, "add_note"):
            error.add_note(f"the server printed:\n{self.output()}")
        self.cleanup()

    # -- what it says -------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def sync_url(self) -> str:
        """What stock providers take as `serverUrl`."""
        return f"ws://127.0.0.1:{self.port}/sync"

    def facts(self) -> dict[str, Any]:
        """`server.json` as the last process wrote it, or nothing."""
        try:
            facts = json.loads((self.data_dir / "server.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def postmaster(self) -> int | None:
        """The process id of this data folder's PostgreSQL, or None when it does not run."""
        pid = self.facts().get("postgres_pid")
        return pid if isinstance(pid, int) and _runs_postgres(pid) else None

    def output(self, *, last: int = 6000) -> str:
        """The end of what all processes on this data folder printed, `last` characters of it."""
        try:
            return self.log_file.read_text(errors="replace")[-last:]
        except OSError:
            return ""

    # -- REST ---------------------------------------------------------------------------------------------------

    def answers(self, path: str) -> bool:
        """Whether `path` answers 200 now."""
        try:
            return self.request("GET", path)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def request(
        self, method: str, path: str, body: object = None, *, token: str | None = None, within: float = 30.0
    ) -> tuple[int, dict[str, Any]]:
        """One REST call: the status and the JSON object (or nothing). `body` is sent as JSON, or as it is when bytes."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if isinstance(body, bytes):
            content, headers["Content-Type"] = body, "application/octet-stream"
        elif body is not None:
            content, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        else:
            content = b""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=within)
        try:
            connection.request(method, path, content or None, headers)
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        try:
            value = json.loads(raw)
        except ValueError:
            value = {}
        return answer.status, value if isinstance(value, dict) else {}

    def register(self, email: str | None = None) -> Account:
        """A new account, with an address nobody else in this run has unless `email` is given."""
        email, password = email or f"{uuid.uuid4().hex}@example.com", "correct horse battery staple"
        status, user = self.request("POST", "/api/auth/register", {"email": email, "password": password})
        if status != 201:
            raise ServerFailed(f"register answered {status} {user}\n{self.output()}")
        tokens = {name: user[name] for name in ("access_token", "refresh_token", "sync_token", "library_id")}
        return Account(email=email, password=password, **tokens)

    def create_library(self, account: Account, name: str = "Prompts") -> str:
        """A new library of `account`: its id."""
        status, library = self.request("POST", "/api/libraries", {"name": name}, token=account.access_token)
        if status != 201:
            raise ServerFailed(f"creating a library answered {status} {library}\n{self.output()}")
        return str(library["id"])

    def upload(self, account: Account, library_id: str, update: bytes) -> None:
        """Store `update` by REST."""
        status, answer = self.request("POST", f"/api/sync/{library_id}", update, token=account.access_token)
        if status not in (200, 201):
            raise ServerFailed(f"the upload answered {status} {answer}\n{self.output()}")


def _runs_postgres(pid: int) -> bool:
    """Whether `pid` is a living PostgreSQL: the number may have gone to another program since it was written down."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return name == "postgres" and rest.split()[0] != "Z"
