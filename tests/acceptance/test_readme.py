"""The README's tour, run as it is written."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.server import ROOT, Server

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def section(title: str) -> list[tuple[str, str]]:
    """The blocks of code below a heading: language and text."""
    text = (ROOT / "README.md").read_text()
    return _BLOCK.findall(text.partition(f"\n## {title}\n")[2].partition("\n## ")[0])


def test_the_tour_with_curl(tmp_path: Path) -> None:
    register = section("Quick start")[0][1]
    (first, typing, second, third) = section("A tour with curl")
    with Server() as server:
        (tmp_path / "edit-on-tablet.py").write_text(typing[1].replace("127.0.0.1:8000", f"127.0.0.1:{server.port}"))
        script = "set -eu\n" + register + first[1] + second[1] + third[1]
        script = script.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}").replace(
            ".venv/bin/python", f"PYTHONPATH={ROOT} {sys.executable}"
        )
        ran = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    answers = list(map(read, ran.stdout.splitlines()))
    made, patched, favourite, tag, found, versioned, history, diff, restored, labelled, refused, batch, shared, links, preferences = (
        answers[:15]
    )
    imported, stats, destroyed, preview, put_back = answers[15:]
    assert made["tags"] == ["Work", "周报"]
    assert (patched["optimized_text"], patched["model_used"]) == ("# Role\nYou write reports.", "deepseek-chat")
    assert (favourite["original_text"], favourite["favorite"]) == ("Write a short report.", True)
    assert (tag["label"], tag["color"], tag["prompts"]) == ("Office", "#5b8def", 1)
    assert found["prompts"] == [{"id": made["id"], "title": "Weekly report", "tags": ["Office", "周报"]}]
    assert versioned["optimized_text"] == "# Role\nYou write short reports."
    assert [(each["version"], each["note"]) for each in history["versions"]] == [(2, ""), (1, "first try")]
    assert [each["text"] for each in diff["segments"] if each["op"] == "insert"] == ["short "]
    assert (restored["version"], restored["kind"], restored["text"]) == (3, "restore", "# Role\nYou write reports.")
    assert labelled is None
    assert (refused["code"], refused["current"]["title"]) == ("precondition_failed", "Weekly report")
    assert statuses(batch) == [201, 200]
    assert links["shares"] == [shared]
    assert shared["live"]
    assert preferences == {"language": "zh-CN", "ui": {"theme": "dark"}}
    assert imported["sections"]["prompts"] == {"created": 0, "merged": 0, "unchanged": 2, "skipped": 0}
    assert (stats["prompts"]["live"], stats["versions"]) == (2, 3)
    assert destroyed is None
    back = {"count": 1, "prompts": [{"id": made["id"], "title": "Weekly report"}]}
    assert preview["changes"]["brought_back"] == put_back["changes"]["brought_back"] == back
    assert put_back["seq"] > put_back["point"]


def read(line: str) -> Any:
    return json.loads(line) if line else None


def statuses(batch: dict[str, Any]) -> list[int]:
    return [each["status"] for each in batch["results"]]


def test_the_tour_of_models(tmp_path: Path) -> None:
    register, first = section("Quick start")[0][1], section("A tour with curl")[0][1]
    (_, watching, improving, _) = section("Keys, models and prompts that improve")
    provider = subprocess.Popen(
        [sys.executable, "-m", "tests.support.scripted_provider", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert provider.stdout is not None
        address = provider.stdout.readline().partition("http://")[2].partition("/")[0]
        with Server(env={"PROMPTSYNC_MODEL_HOSTS": address}) as server:
            (tmp_path / "watch.py").write_text(watching[1].replace("127.0.0.1:8000", f"127.0.0.1:{server.port}"))
            script = f"set -eu\n{register}{first}{improving[1]}".replace("127.0.0.1:9999", address)
            script = script.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}").replace(
                ".venv/bin/python", f"PYTHONPATH={ROOT} {sys.executable}"
            )
            ran = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    finally:
        provider.terminate()
        provider.communicate()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert 'the other device sees "# Role' in ran.stdout
    assert "event: token" in ran.stdout
    assert "event: done" in ran.stdout
    checked, *_, iterated, alone, usage = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")][3:]
    assert checked["status"] == "ok"
    assert (iterated["version"]["kind"], alone["lost_variables"]) == ("iterate", ["name"])
    assert usage["total"]["calls"] == 4
