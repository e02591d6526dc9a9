"""Reading, joining and dividing updates, against Yrs on made updates and against yjs on captured ones."""

from __future__ import annotations

import random
from array import array
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText, get_state

from crdt.errors import InvalidStateVector, InvalidUpdate
from crdt.ranges import Ranges
from crdt.updates import (
    EMPTY_UPDATE,
    LIMITS,
    Inspected,
    Limits,
    decode_state_vector,
    delete_set_update,
    diff,
    encode_state_vector,
    inspect,
    merge,
)
from tests.crdt.made import CAPTURED, VECTORS, edits, knowledge_of, one, refusal, triples, typed

# --- what yjs wrote ---


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_an_update_of_yjs_holds_what_yjs_says_it_holds(vector: dict[str, Any]) -> None:
    update = bytes.fromhex(vector["update"])
    inspected = inspect(update)
    assert triples(inspected.held) == vector["held"]
    assert sorted(triples(inspected.deleted)) == sorted(vector["deleted"])
    assert inspected.empty is (not vector["held"] and not vector["deleted"])
    assert knowledge_of(update).state_vector() == decode_state_vector(bytes.fromhex(vector["state_vector"]))


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_every_early_end_of_an_update_is_refused(vector: dict[str, Any]) -> None:
    update = bytes.fromhex(vector["update"])
    for size in range(len(update)):
        with pytest.raises(InvalidUpdate):
            inspect(update[:size])
    assert refusal(update + b"\0") == "bytes after the update"


def test_updates_in_the_second_encoding_are_refused() -> None:
    for encoded in CAPTURED["second_encoding"]:
        refusal(bytes.fromhex(encoded))


def test_what_yrs_would_misread_is_refused_though_yjs_wrote_it() -> None:
    for encoded in CAPTURED["refused"].values():
        assert refusal(bytes.fromhex(encoded)) == "unknown shared type"
    assert refusal(one("02 01 01 31")) == "legacy JSON content"


def test_merging_and_dividing_the_updates_of_yjs_loses_nothing() -> None:
    raw = [bytes.fromhex(vector["update"]) for vector in VECTORS if "client" in vector["name"] or "incremental" in vector["name"]]
    whole = knowledge_of(*raw)
    merged = merge(raw)
    assert knowledge_of(merged) == whole
    assert knowledge_of(diff(merged, encode_state_vector(whole.state_vector()))).deleted == whole.deleted


# --- what pycrdt writes ---


def at_once(doc: Doc[Any]) -> None:
    with doc.transaction():
        everything(doc)


def everything(doc: Doc[Any]) -> None:
    text = doc.get("t", type=Text)
    text += "hello 中文😀"
    text.format(0, 5, {"bold": True, "link": {"href": "x"}})
    text.insert_embed(2, {"image": [1, 2.5]})
    del text[0:3]
    doc.get("m", type=Map)["nested"] = Map({"a": Array([1, None, True, b"\0\1", {"k": ["v", {}]}]), "t": Text("提示词")})
    doc.get("m", type=Map)["doc"] = Doc()
    doc.get("m", type=Map)["n"] = 2**40
    del doc.get("m", type=Map)["n"]
    fragment = doc.get("x", type=XmlFragment)
    fragment.children.append(XmlElement("p", {"class": "c"}, [XmlText("中")]))


def test_an_update_of_every_kind_of_content_holds_what_yrs_says() -> None:
    doc, made = edits(2**53 - 1, at_once)
    for update in (*made, doc.get_update(), merge(made)):
        knowledge = knowledge_of(update)
        assert knowledge.state_vector() == decode_state_vector(get_state(update))
        assert knowledge.gapless
        assert knowledge.deleted


@pytest.mark.parametrize(
    ("text", "units"),
    [("abc", 3), ("中文", 2), ("😀", 2), ("a😀中é", 5), ("👩‍👩‍👧", 8), ("x" * 300, 300), ("é" * 300, 300), ("😀" * 300, 600)],
)
def test_strings_take_as_many_clocks_as_javascript_counts_units(text: str, units: int) -> None:
    [update] = typed(text)
    assert triples(inspect(update).held) == [[7, 0, units]]
    assert decode_state_vector(get_state(update)) == {7: units}


def test_gaps_are_seen_through_the_skips_of_a_merge() -> None:
    made = typed("ab", "cde", "f", "gh")
    merged = merge([made[3], made[1]])
    assert triples(inspect(merged).held) == [[7, 2, 5], [7, 6, 8]]
    assert knowledge_of(merged).state_vector() == {}
    assert triples(inspect(merge([made[0], made[3]])).held) == [[7, 0, 2], [7, 6, 8]]
    assert triples(inspect(merge(made)).held) == [[7, 0, 8]]


def test_runs_that_touch_are_one_triple_and_clients_stay_apart() -> None:
    update = merge([*typed("ab", "cd", client=5), *typed("x", client=900)])
    assert sorted(triples(inspect(update).held)) == [[5, 0, 4], [900, 0, 1]]


def test_deletions_are_told_without_structs() -> None:
    doc, made = edits(7, lambda d: d.get("t", type=Text).insert(0, "hello"), lambda d: d.get("t", type=Text).clear())
    alone = inspect(diff(doc.get_update(), doc.get_state()))
    assert triples(alone.held) == []
    assert triples(alone.deleted) == [[7, 0, 5]]
    assert not alone.empty
    assert not knowledge_of(*made).adds(alone)
    assert knowledge_of(made[0]).adds(alone)


def test_deletions_that_touch_are_one_triple() -> None:
    assert triples(inspect(bytes.fromhex("00 01 05 03 00 02 02 01 09 01")).deleted) == [[5, 0, 3], [5, 9, 10]]


def test_nothing_is_empty() -> None:
    assert inspect(EMPTY_UPDATE) == Inspected(array("Q"), array("Q"))
    assert inspect(EMPTY_UPDATE).empty
    assert merge([]) == EMPTY_UPDATE
    assert merge([EMPTY_UPDATE, EMPTY_UPDATE]) == EMPTY_UPDATE
    assert refusal(b"") == "update ends early"


def test_empty_strings_of_early_yrs_are_accepted_and_hold_nothing() -> None:
    assert inspect(one("04 00")).empty
    assert inspect(bytes.fromhex("01 01 01 00 0a 00 00")).empty


# --- merging and dividing at random ---


def test_merging_keeps_all_that_was_put_in_and_dividing_all_that_is_asked_for() -> None:
    source = random.Random(4)
    for _ in range(30):
        made = history(source)
        for _ in range(5):
            chosen = source.choices(made, k=source.randrange(1, len(made) + 1))
            whole, cut = knowledge_of(*chosen), source.randrange(len(chosen) + 1)
            merged = merge([merge(chosen[:cut]), merge(chosen[cut:])])
            assert knowledge_of(merged) == whole
            vector = {client: source.randrange(end + 2) for client, _, end in whole.held if source.random() < 0.7}
            part = knowledge_of(diff(merged, encode_state_vector(vector)))
            assert part.held.covers(whole.lacking(vector))
            assert whole.held.covers(part.held)
            assert part.deleted == whole.deleted


def history(source: random.Random) -> list[bytes]:
    """The updates that three devices made, each seeing some of the others' work."""
    docs = [Doc[Any](client_id=client) for client in (5, 900, 3_000_000_000)]
    made: list[bytes] = []

    def step(doc: Doc[Any]) -> None:
        text, chance = doc.get("t", type=Text), source.random()
        if chance < 0.5:
            text.insert(source.choice((0, len(text))), source.choice(("ab", "c", "xyz")))
        elif chance < 0.65 and len(text) > 2:
            del text[1:2]
        else:
            doc.get("m", type=Map)[source.choice("ab")] = chance

    for _ in range(source.randrange(4, 20)):
        doc = source.choice(docs)
        subscription = doc.observe(lambda event: made.append(event.update))
        step(doc)
        doc.unobserve(subscription)
        doc.apply_update(source.choice(docs).get_update())
    return made


# --- delete sets and state vectors ---


def test_a_delete_set_update_deletes_on_a_device_what_it_names() -> None:
    doc, _ = edits(7, lambda d: d.get("t", type=Text).insert(0, "hello"))
    deleted = Ranges()
    for client, start, end in [(7, 1, 2), (7, 3, 5), (900, 4, 5)]:
        deleted.add(client, start, end)
    update = delete_set_update(deleted)
    assert knowledge_of(update).deleted == deleted
    assert not inspect(update).held
    doc.apply_update(update)
    assert str(doc.get("t", type=Text)) == "hl"
    assert delete_set_update(Ranges()) == EMPTY_UPDATE


def test_state_vectors_come_back_as_they_went() -> None:
    for vector in ({}, {7: 3}, {1: 0, 2**53 - 1: 2**32 - 1, 300: 128}):
        assert decode_state_vector(encode_state_vector(vector)) == vector
    assert encode_state_vector({5: 1, 300: 2}) == bytes.fromhex("02 ac 02 02 05 01")
    doc, _ = edits(300, everything)
    assert encode_state_vector(decode_state_vector(doc.get_state())) == doc.get_state()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "state vector ends early"),
        ("01", "too many clients"),
        ("ff ff ff ff 0f 01 00", "too many clients"),
        ("01 01 80", "state vector ends early"),
        ("00 00", "bytes after the state vector"),
        ("02 01 01 01 02", "client named twice"),
        ("01 01 80 80 80 80 10", "clock out of range"),
        ("01 ff ff ff ff ff ff ff ff 01 01", "integer of more than 8 bytes"),
    ],
)
def test_junk_for_a_state_vector_is_refused_by_name(data: str, reason: str) -> None:
    with pytest.raises(InvalidStateVector) as refused:
        decode_state_vector(bytes.fromhex(data))
    assert refused.value.reason == reason


def test_state_vectors_are_bounded_in_clients() -> None:
    many = encode_state_vector(dict.fromkeys(range(5), 1))
    with pytest.raises(InvalidStateVector, match="too many clients"):
        decode_state_vector(many, limits=Limits(clients=4))
    assert len(decode_state_vector(many, limits=LIMITS)) == 5
