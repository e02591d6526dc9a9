"""A device's copy: edits in characters, exchange in any order, nothing lost that still waits."""

from __future__ import annotations

import random

import pytest

from crdt.errors import InvalidUpdate
from crdt.replica import Replica
from crdt.updates import EMPTY_STATE_VECTOR, EMPTY_UPDATE, decode_state_vector, inspect
from tests.crdt.made import knowledge_of


def test_an_edit_returns_its_own_update_and_another_device_gets_the_same_prompts() -> None:
    desk, phone = Replica(5), Replica(900)
    assert desk.client_id == 5
    made = [
        desk.write_prompt("p1", "hello"),
        desk.edit_text("p1", 5, " world"),
        desk.edit_text("p1", 0, "J", 1),
        desk.write_prompt("p2", "x"),
    ]
    made.append(desk.delete_prompt("p2"))
    for update in made:
        phone.apply(update)
    assert phone.prompts() == desk.prompts() == {"p1": "Jello world"}
    assert phone.state_vector() == desk.state_vector()
    assert len(made[1]) < 30, "the edit alone, not the document"


@pytest.mark.parametrize("client_id", [None, 2**53 - 1])
def test_devices_take_the_id_given_or_one_of_their_own(client_id: int | None) -> None:
    replica = Replica(client_id)
    replica.write_prompt("p", "x")
    assert list(decode_state_vector(replica.state_vector())) == [replica.client_id]
    assert client_id in (None, replica.client_id)


def test_places_in_a_text_are_characters_in_every_script() -> None:
    source, replica, model = random.Random(3), Replica(5), "中文abc😀é👩‍👩‍👧"
    replica.write_prompt("p", model)
    for _ in range(300):
        index = source.randrange(len(model) + 1)
        delete = source.randrange(min(3, len(model) - index) + 1)
        insert = source.choice(("", "中", "😀x", "é", "abc"))
        replica.edit_text("p", index, insert, delete)
        model = model[:index] + insert + model[index + delete :]
        assert replica.prompts() == {"p": model}


def test_places_and_prompts_that_are_not_there_are_refused() -> None:
    replica = Replica(5)
    replica.write_prompt("p", "中文")
    for index, delete in [(3, 0), (-1, 0), (1, 2), (1, -1)]:
        with pytest.raises(IndexError):
            replica.edit_text("p", index, "x", delete)
    with pytest.raises(KeyError):
        replica.edit_text("q", 0, "x")
    with pytest.raises(KeyError):
        replica.delete_prompt("q")
    assert replica.prompts() == {"p": "中文"}
    assert inspect(replica.edit_text("p", 0)).empty


def test_edits_apart_converge_when_they_are_exchanged() -> None:
    source = random.Random(9)
    devices = [Replica(client) for client in (5, 900, 3_000_000_000)]
    for _ in range(40):
        device = source.choice(devices)
        for _ in range(source.randrange(4)):
            prompts = device.prompts()
            if prompts and source.random() < 0.7:
                name = source.choice(sorted(prompts))
                place = source.randrange(len(prompts[name]) + 1)
                device.edit_text(name, place, source.choice(("a", "中", "")), min(source.randrange(3), len(prompts[name]) - place))
            else:
                device.write_prompt(source.choice("pq"), "text")
        other = source.choice(devices)
        other.apply(device.missing(other.state_vector()))
    for one in devices:
        for two in devices:
            two.apply(one.missing(two.state_vector()))
    assert devices[0].prompts() == devices[1].prompts() == devices[2].prompts()
    assert knowledge_of(devices[0].dump()) == knowledge_of(devices[1].dump()) == knowledge_of(devices[2].dump())


def test_updates_that_wait_are_passed_on_and_kept() -> None:
    desk = Replica(5)
    made = [
        desk.write_prompt("p", "one"),
        desk.edit_text("p", 3, " two"),
        desk.edit_text("p", 7, " three"),
        desk.edit_text("p", 0, delete=4),
    ]
    phone = Replica(900)
    phone.apply(made[0])
    phone.apply(made[2])
    phone.apply(made[3])
    assert phone.waiting == 2
    assert phone.prompts() == {"p": ""}, "the deletion of what is there is applied, the rest waits"
    assert knowledge_of(phone.missing(EMPTY_STATE_VECTOR)) == knowledge_of(made[0], made[2], made[3])
    assert knowledge_of(phone.missing(phone.state_vector())).held == knowledge_of(made[2]).held
    back = Replica.load(phone.dump(), 900)
    back.apply(made[1])
    assert back.prompts() == desk.prompts() == {"p": "two three"}
    assert back.waiting == 0
    third = Replica(7)
    third.apply(back.dump())
    assert third.prompts() == desk.prompts()


def test_order_and_repetition_do_not_matter() -> None:
    desk, source = Replica(5), random.Random(2)
    made = [desk.write_prompt("p", "x"), *(desk.edit_text("p", i, "中") for i in range(12)), desk.edit_text("p", 2, delete=3)]
    for _ in range(20):
        phone = Replica(900)
        for update in source.choices(made, k=10) + source.sample(made, len(made)):
            phone.apply(update)
        assert phone.prompts() == desk.prompts()
        assert phone.waiting == 0


def test_junk_is_refused_and_changes_nothing() -> None:
    replica = Replica(5)
    replica.write_prompt("p", "x")
    with pytest.raises(InvalidUpdate):
        replica.apply(bytes.fromhex("c8 ee db 70"))
    assert replica.prompts() == {"p": "x"}
    assert replica.waiting == 0
    replica.apply(EMPTY_UPDATE)
    assert Replica(6).dump() == EMPTY_UPDATE
