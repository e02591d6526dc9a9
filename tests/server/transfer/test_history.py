"""Prompt Optimizer's history: each chain a prompt, its records versions in their order, whatever the file's order is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.library import Mode
from server.transfer import history
from tests.server.transfer.app_files import IDS, NOW, prompts_of, reading_of, texts, told
from tests.support.samples import AT, app_file, record


def history_file(*records: Any) -> dict[str, Any]:
    return app_file({"history": list(records)})


CHAIN = [record("c", number, f"text {number}") for number in range(1, 6)]


@given(st.permutations(CHAIN))
def test_the_order_of_a_chain_is_that_of_its_versions(records: list[dict[str, Any]]) -> None:
    prompt = prompts_of(reading_of(history_file(*records)))["chain:c"]
    assert texts(prompt) == [f"text {number}" for number in range(1, 6)]
    assert [version.at for version in prompt.versions] == sorted({version.at for version in prompt.versions})
    ids = [IDS.of(f"record:c-r{number}") for number in range(1, 6)]
    assert [version.id for version in prompt.versions] == ids
    assert [version.parent for version in prompt.versions] == [None, *ids[:-1]]
    assert (prompt.current, prompt.original, prompt.title) == (ids[-1], "write a weekly report", "write a weekly report")
    assert (prompt.favorite, prompt.id) == (False, IDS.of("chain:c"))


def test_a_record_becomes_a_version_with_all_it_says() -> None:
    version = prompts_of(reading_of(history_file(*CHAIN)))["chain:c"].versions[1]
    assert (version.kind, version.note, version.model, version.model_name) == ("iterate", "shorter", "deepseek", "DeepSeek")
    assert (version.template, version.device, version.at, version.input) == ("general-optimize", "import", AT + 2, None)


def test_equal_times_do_not_mix_the_order_up() -> None:
    records = [record("c", number, f"text {number}", timestamp=AT) for number in range(1, 30)]
    versions = prompts_of(reading_of(history_file(*records[::-1])))["chain:c"].versions
    assert [version.at for version in versions] == list(range(AT, AT + 29))
    assert sorted(versions, key=lambda version: (version.at, version.id)) == versions


def test_the_input_is_kept_where_it_differs_from_the_parents() -> None:
    records = [record("c", 1, "a"), record("c", 2, "b", originalPrompt="another"), record("c", 3, "c", originalPrompt="another")]
    versions = prompts_of(reading_of(history_file(*records)))["chain:c"].versions
    assert [version.input for version in versions] == [None, "another", None]


def test_a_chain_whose_root_is_lost_is_kept_and_told() -> None:
    reading = reading_of(history_file(*CHAIN[2:]))
    prompt = prompts_of(reading)["chain:c"]
    assert texts(prompt) == ["text 3", "text 4", "text 5"]
    assert prompt.versions[0].parent == IDS.of("record:c-r2")  # found again when a file has it
    assert told(reading.findings) == [("prompts", "c-r3", "lost_root", None)]
    assert reading.findings.errors == 0


def test_records_that_are_none_are_skipped_and_the_others_kept() -> None:
    reading = reading_of(history_file({"id": "x"}, 7, record("c", 1, "a", id=""), record("c", 1, "a"), record("c", 1, "again")))
    assert texts(prompts_of(reading)["chain:c"]) == ["a"]
    assert [(each[1], each[2]) for each in told(reading.findings)] == [
        ("#2", "invalid"), ("x", "invalid"), ("#3", "invalid"), ("c-r1", "duplicate"),
    ]  # fmt: skip
    assert reading.findings.skipped["prompts"] == 4


def test_fields_of_the_wrong_kind_are_left_out_once_and_told() -> None:
    reading = reading_of(history_file(record("c", 1, "a") | {"timestamp": "yesterday", "modelKey": 7, "version": "one"}))
    (version,) = prompts_of(reading)["chain:c"].versions
    assert (version.at, version.model) == (NOW, None)
    assert sorted(each[3] or "" for each in told(reading.findings)) == ["modelKey", "timestamp", "version"]


def test_a_record_without_a_chain_is_one_of_its_own() -> None:
    loose = record("c", 1, "a", id="r")
    del loose["chainId"]
    assert "chain:r" in prompts_of(reading_of(history_file(loose)))


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({"type": "optimize"}, Mode.BASIC_SYSTEM),
        ({"type": "userOptimize"}, Mode.BASIC_USER),
        ({"type": "contextUserOptimize"}, Mode.PRO_VARIABLE),
        ({"type": "conversationMessageOptimize"}, Mode.PRO_MULTI),
        ({"type": "text2imageOptimize"}, Mode.IMAGE_TEXT2IMAGE),
        ({"type": "image2imageOptimize"}, Mode.IMAGE_IMAGE2IMAGE),
        ({"type": "multiimageOptimize"}, Mode.IMAGE_MULTIIMAGE),
        ({"type": "iterate", "metadata": {"optimizationMode": "user", "functionMode": "basic"}}, Mode.BASIC_USER),
        ({"type": "iterate", "metadata": {"optimizationMode": "user", "functionMode": "context"}}, Mode.PRO_VARIABLE),
        ({"type": "iterate", "metadata": {"functionMode": "image"}}, Mode.IMAGE_TEXT2IMAGE),
        ({"type": "test", "metadata": 7}, Mode.BASIC_SYSTEM),
    ],
)
def test_what_it_is_for(fields: dict[str, Any], mode: Mode) -> None:
    assert prompts_of(reading_of(history_file(record("c", 1, "a", **fields))))["chain:c"].mode is mode


def test_the_conversation_of_the_newest_record_is_kept() -> None:
    before, spoken = [{"id": "m", "role": "user"}], [{"id": "m", "role": "user", "content": "hi"}]
    records = [record("c", number, "a", metadata={"conversationSnapshot": each}) for number, each in enumerate((before, spoken), 1)]
    assert prompts_of(reading_of(history_file(*records)))["chain:c"].messages == spoken


@pytest.mark.parametrize(
    ("original", "title"),
    [("\n\n# Role: poet \nmore", "Role: poet"), ("x" * 300, "x" * 79 + "…"), ("a\tb\x00c", "a b c"), ("", "text 1"), ("  \n", "text 1")],
)
def test_a_title_is_made_of_the_first_line(original: str, title: str) -> None:
    assert prompts_of(reading_of(history_file(record("c", 1, "text 1", originalPrompt=original))))["chain:c"].title == title


def test_more_versions_than_one_may_have_lose_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_VERSIONS", 3)
    reading = reading_of(history_file(*CHAIN))
    assert texts(prompts_of(reading)["chain:c"]) == ["text 3", "text 4", "text 5"]
    assert ("prompts", "c-r1", "too_many", "versions") in told(reading.findings)
    assert reading.findings.errors == 1
