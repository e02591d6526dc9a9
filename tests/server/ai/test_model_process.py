"""Models called from a process of their own: the same to whoever has them called, and nothing hangs when it dies."""

import asyncio
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from auth.model_secret import ModelSecret
from server.ai import model_process
from server.ai.calls import Finished, Token, Usage
from server.ai.failures import ModelFailed, Outcome
from server.ai.listed_models import ListedModel
from server.ai.model_process import ModelProcess
from server.ai.model_worker import MEMORY_BYTES
from server.apart import started_apart
from server.config import Settings
from tests.support.calling import ASKED, KEY, call_of, heard, model_processes_of, target_at
from tests.support.core import until
from tests.support.scripted_provider import ScriptedProvider, echoes, fails, never_ends, raw, says
from tests.support.server import wait_until

HEADER = "gateway-canary-7Hq2"


@pytest.fixture
async def process(settings: Settings) -> AsyncIterator[ModelProcess]:
    process = ModelProcess(settings)
    yield process
    await process.close()


def is_running(pid: int) -> bool:
    """Whether there is such a process that does not only wait to be buried."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def pid_of(process: ModelProcess) -> int:
    assert process.pid is not None
    return process.pid


def memory_of(pid: int) -> int:
    """What the process holds of its own, in bytes."""
    [kilobytes] = re.findall(r"VmData:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return 1024 * int(kilobytes)


def names_in_environment(pid: int) -> list[bytes]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().rstrip(b"\0").split(b"\0")
    return [entry.partition(b"=")[0] for entry in entries]


async def test_an_answer_comes_as_it_does_from_this_process(process: ModelProcess, provider: ScriptedProvider) -> None:
    provider.answer(says("写周报 😀", " and", " more"))
    target = target_at(provider, secret=ModelSecret(KEY, {"x-gateway": HEADER}), params={"seed": 2**70})

    found = await heard(process, target)

    assert found.text == "写周报 😀 and more"
    assert isinstance(found.finished.usage, Usage)
    [asked] = provider.calls
    assert asked.key == KEY
    assert asked.headers["x-gateway"] == HEADER
    assert asked.body["seed"] == 2**70
    assert [message["content"] for message in asked.body["messages"]] == [message.content for message in ASKED]


async def test_many_answers_come_at_once_through_one_process_each_to_its_own(process: ModelProcess, provider: ScriptedProvider) -> None:
    targets = [target_at(provider, secret=ModelSecret(f"sk-number-{number}")) for number in range(20)]
    provider.answer(says("one", " two"))

    found = await asyncio.gather(*(heard(process, target) for target in targets))

    assert [each.text for each in found] == ["one two"] * 20
    assert {asked.key for asked in provider.calls} == {target.secret.api_key for target in targets}
    assert model_processes_of(os.getpid()) == [process.pid]


async def test_failures_are_told_as_they_are_here(process: ModelProcess, provider: ScriptedProvider) -> None:
    provider.answer(fails(429, retry_after="120"))
    limited = (await heard(process, target_at(provider))).failed
    provider.answer(echoes(401))
    refused = (await heard(process, target_at(provider))).failed
    inside = (await heard(process, target_at(provider, base_url="https://169.254.169.254/v1"))).failed

    assert limited is not None
    assert (limited.outcome, limited.retry_after) == (Outcome.RATE_LIMITED, 120)
    assert refused is not None
    assert refused.outcome is Outcome.INVALID_KEY
    assert refused.said
    assert KEY[:8] not in refused.said
    assert inside is not None
    assert inside.outcome is Outcome.REFUSED_ADDRESS


async def test_checks_and_lists_go_there_too(process: ModelProcess, provider: ScriptedProvider) -> None:
    provider.models = ["zeta", "alpha"]
    assert await process.list_models(target_at(provider)) == (ListedModel("alpha", "alpha"), ListedModel("zeta", "zeta"))
    provider.answer(says("ok"))
    await process.check(target_at(provider))
    provider.keys = {"another"}
    for asked in (process.check, process.list_models):
        with pytest.raises(ModelFailed) as raised:
            await asked(target_at(provider))
        assert raised.value.outcome is Outcome.INVALID_KEY


async def test_who_leaves_ends_the_connection_to_the_provider(process: ModelProcess, provider: ScriptedProvider) -> None:
    provider.answer(never_ends())
    async with aclosing(process.stream(call_of(target_at(provider)))) as pieces:
        assert isinstance(await anext(pieces), Token)
    async with asyncio.timeout(10):
        await provider.disconnected()
    provider.answer(says("still here"))
    assert (await heard(process, target_at(provider))).text == "still here"


async def test_calls_are_cut_off_when_it_dies_and_the_next_has_a_new_one(process: ModelProcess, provider: ScriptedProvider) -> None:
    provider.answer(never_ends(pause=0.01))
    running = [asyncio.create_task(heard(process, target_at(provider))) for _ in range(3)]
    async with asyncio.timeout(20):
        await provider.until(lambda: len(provider.calls) == 3)
    pid = pid_of(process)
    os.kill(pid, signal.SIGKILL)

    async with asyncio.timeout(10):
        cut = [each.failed for each in await asyncio.gather(*running)]
    assert [failed and failed.outcome for failed in cut] == [Outcome.CUT_OFF] * 3
    provider.answer(says("again"))
    found = await heard(process, target_at(provider))
    assert found.text == "again"
    assert isinstance(found.pieces[-1], Finished)
    assert pid_of(process) != pid


async def test_one_that_is_stuck_is_ended(settings: Settings, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    process = ModelProcess(settings.model_copy(update={"model_call_seconds": 3.0}))
    provider.answer(says("fine"))
    assert (await heard(process, target_at(provider))).text == "fine"
    pid = pid_of(process)
    os.kill(pid, signal.SIGSTOP)

    with monkeypatch.context() as patched:
        patched.setattr(model_process, "STUCK_SECONDS", 0.1)
        async with asyncio.timeout(10):
            found = await heard(process, target_at(provider))

    assert found.failed is not None
    assert found.failed.outcome is Outcome.CUT_OFF
    assert not is_running(pid)
    assert (await heard(process, target_at(provider))).text == "fine"
    await process.close()


async def test_it_knows_nothing_of_the_server_and_stays_for_its_signals(
    process: ModelProcess, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTSYNC_DATABASE_URL", "postgresql://canary")
    monkeypatch.setenv("OPENAI_LOG", "debug")
    provider.answer(says("one"))
    await heard(process, target_at(provider))
    pid = pid_of(process)

    assert names_in_environment(pid) == [b"PYTHONPATH"]
    assert os.getsid(pid) == pid  # what the terminal tells reaches the server alone, from the first moment on
    assert os.readlink(f"/proc/{pid}/fd/1") == os.devnull
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    assert (await heard(process, target_at(provider))).text == "one"
    assert process.pid == pid
    await process.close()
    assert not is_running(pid)


async def test_a_call_that_takes_more_memory_than_there_is_fails(process: ModelProcess, provider: ScriptedProvider) -> None:
    provider.answer(says("fine"))
    assert (await heard(process, target_at(provider))).text == "fine"
    pid = pid_of(process)
    assert resource.prlimit(pid, resource.RLIMIT_DATA) == (MEMORY_BYTES, MEMORY_BYTES)
    resource.prlimit(pid, resource.RLIMIT_DATA, (memory_of(pid) + (2 << 20), MEMORY_BYTES))

    provider.answer(raw(b"data: " + b"x" * (7 << 20), ends=False))  # within the bound of an event
    async with asyncio.timeout(20):
        failed = (await heard(process, target_at(provider))).failed
    assert failed is not None
    assert failed.outcome in (Outcome.CUT_OFF, Outcome.FAILED)
    provider.answer(says("fine"))
    assert (await heard(process, target_at(provider))).text == "fine"


async def test_closing_cuts_off_what_runs(process: ModelProcess, provider: ScriptedProvider) -> None:
    provider.answer(never_ends(pause=0.01))
    running = asyncio.create_task(heard(process, target_at(provider)))
    async with asyncio.timeout(20):
        await provider.until(lambda: bool(provider.calls))
    await process.close()
    async with asyncio.timeout(5):
        failed = (await running).failed
    assert failed is not None
    assert failed.outcome is Outcome.CUT_OFF


async def test_a_start_that_fails_is_a_failed_call_and_the_next_one_tries_again(
    process: ModelProcess, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(module: str, pipe: int) -> subprocess.Popen[bytes]:
        raise BlockingIOError

    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patched:
        patched.setattr(model_process, "started_apart", refuse)
        failed = (await heard(process, target_at(provider))).failed
    assert failed is not None
    assert failed.outcome is Outcome.CUT_OFF
    assert os.listdir("/proc/self/fd") == before
    provider.answer(says("fine"))
    assert (await heard(process, target_at(provider))).text == "fine"


async def test_who_leaves_during_the_start_leaves_no_process(
    process: ModelProcess, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def leave(module: str, pipe: int) -> subprocess.Popen[bytes]:
        started.append(started_apart(module, pipe))
        leaving.cancel()
        return started[0]

    leaving = asyncio.create_task(process.check(target_at(provider)))
    with monkeypatch.context() as patched:
        patched.setattr(model_process, "started_apart", leave)
        with pytest.raises(asyncio.CancelledError):
            await leaving
    assert started[0].returncode is not None
    provider.answer(says("fine"))
    assert (await heard(process, target_at(provider))).text == "fine"


async def test_an_order_that_is_given_up_before_it_is_begun_is_no_trouble(
    process: ModelProcess, provider: ScriptedProvider, capfd: pytest.CaptureFixture[str]
) -> None:
    leaving = asyncio.create_task(process.check(target_at(provider)))
    await until(lambda: process.pid is not None)  # the order and its end wait for it together
    leaving.cancel()
    provider.answer(says("fine"))
    assert (await heard(process, target_at(provider))).text == "fine"
    assert capfd.readouterr().err == ""
    assert len(provider.calls) == 1


async def test_what_cannot_be_sent_is_not_under_way(process: ModelProcess, provider: ScriptedProvider) -> None:
    provider.answer(says("fine"))
    with pytest.raises(TypeError, match="not JSON serializable"):
        await heard(process, target_at(provider, params={"unfit": lambda: None}))
    assert process._line is not None
    assert not process._line._running
    assert (await heard(process, target_at(provider))).text == "fine"


async def test_orders_that_a_stuck_process_does_not_read_wait_within_a_bound(
    process: ModelProcess, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.answer(says("fine"))
    await heard(process, target_at(provider))
    os.kill(pid_of(process), signal.SIGSTOP)
    monkeypatch.setattr(model_process, "MAX_WAITING_BYTES", 4 << 20)
    orders = [asyncio.create_task(heard(process, target_at(provider, params={"much": "x" * (1 << 20)}))) for _ in range(20)]
    await until(lambda: sum(order.done() for order in orders) >= 14)
    assert {order.result().failed.outcome for order in orders if order.done()} == {Outcome.CUT_OFF}  # type: ignore[union-attr]  # it has failed
    os.kill(pid_of(process), signal.SIGCONT)
    found = await asyncio.gather(*orders)
    assert sum(each.failed is None for each in found) >= 4


async def test_nothing_is_imported_from_the_folder_that_the_server_was_started_in(
    process: ModelProcess, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "httpx2.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    provider.answer(says("fine"))
    assert (await heard(process, target_at(provider))).text == "fine"


_IMPORTS = """
import sys
import server.app, server.run, server.ai.model_process, server.ai.model_worker
assert "httpx2" in sys.modules
sys.exit(repr({"openai", "anthropic"} & sys.modules.keys() or ""))
"""


def test_the_vendors_libraries_are_not_imported_before_the_first_call() -> None:
    ran = subprocess.run([sys.executable, "-c", _IMPORTS], capture_output=True, text=True, check=False)
    assert ran.stderr == "''\n"


_STARTS = """
import asyncio, sys
from server.ai.model_process import ModelProcess
from server.ai.model_worker import MEMORY_BYTES
from server.apart import started_apart
from server.config import Settings
from auth.model_secret import ModelSecret
from server.ai.calls import Target

async def main():
    process = ModelProcess(Settings())
    target = Target(config_id="c", name="c", provider="custom", model="m", base_url="https://127.0.0.1", secret=ModelSecret())
    try:
        await process.check(target)
    except Exception:
        print(process.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_it_ends_with_its_server_however_that_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", _STARTS], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert is_running(pid)
        server.kill()
    wait_until(lambda: not is_running(pid), within=10, what="its end")
