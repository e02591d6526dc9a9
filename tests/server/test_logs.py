import asyncio
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress

import pytest
import structlog

from server.config import load_settings
from server.logs import SILENT, configure_logs
from server.outgoing.client import make_client
from tests.support.upstream import upstream


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """What is configured here writes to a stream that ends with the test."""
    handlers = logging.root.handlers[:]
    silent = [(logger, logger.level, logger.propagate, logger.handlers[:]) for logger in map(logging.getLogger, SILENT)]
    yield
    for logger, level, propagate, own in silent:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = own
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


@pytest.mark.parametrize("level", ["debug", "info"])
def test_what_we_ask_others_is_not_logged_at_any_level(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level, json=True)
    for name in ("httpx2", "httpcore2.http11", "httpcore2.connection", "openai", "openai._base_client", "anthropic._base_client"):
        logging.getLogger(name.partition(".")[0]).setLevel(logging.DEBUG)  # as OPENAI_LOG and ANTHROPIC_LOG do
        for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(number, "POST https://llm.example/?key=%s", "sk-canary")
    assert capsys.readouterr() == ("", "")


def test_a_request_writes_nothing_to_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    async def ask() -> None:
        async with upstream() as host, make_client(load_settings(model_hosts=f"127.0.0.1:{host.port}")) as client:
            await client.post(f"http://127.0.0.1:{host.port}/v1?key=sk-canary", json={"prompt": "x"}, headers={"X-Api-Key": "sk-canary"})

    configure_logs("debug", json=True)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.DEBUG)
    asyncio.run(ask())
    written = capsys.readouterr()
    assert "sk-canary" not in written.out + written.err
    assert "127.0.0.1" not in written.out + written.err
