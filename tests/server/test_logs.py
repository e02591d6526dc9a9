import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress

import pytest
import structlog

from server.logs import configure_logs


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """What is configured here writes to a stream that ends with the test."""
    handlers = logging.root.handlers[:]
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_no_local_variables(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", json=as_json)
    token = "hidden-" + "token"
    try:
        raise ValueError("a reason")
    except ValueError as error:
        structlog.get_logger("a new one").error("it_failed", exc_info=error)
    assert token
    written = capsys.readouterr().err
    assert "it_failed" in written
    assert "a reason" in written
    assert "hidden-token" not in written


def test_a_reader_of_the_logs_that_goes_away_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with open(writer, "w", buffering=1) as stream:
        monkeypatch.setattr("sys.stderr", stream)
        configure_logs("info", json=True)
        os.close(reader)
        for _ in range(3):
            structlog.get_logger("a third").info("nobody reads this")
        monkeypatch.undo()
        with suppress(BrokenPipeError):
            stream.close()


def test_production_writes_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", json=True)
    structlog.get_logger("another").info("something", count=3)
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["count"], line["level"]) == ("something", 3, "info")
