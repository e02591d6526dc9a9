import subprocess
import sys


def test_the_demo_tells_its_story_and_loses_nothing() -> None:
    told = subprocess.run([sys.executable, "-m", "server.cli", "demo"], capture_output=True, text=True, timeout=180)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "lost: 0" in told.stdout
    assert "converged" in told.stdout.splitlines()[-1]
