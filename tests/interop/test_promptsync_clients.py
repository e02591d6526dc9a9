"""Devices on promptsync.v1 and stock y-websocket devices in one library, against a real server process."""

from typing import Any

import pytest

from tests.interop.devices import NewDevice, NodeDevice, come_and_go, open_two, wait_until_equal
from tests.support.born import BORN
from tests.support.server import Account, Server

pytestmark = pytest.mark.node

each_other = pytest.mark.parametrize("other", ["2", "3", "promptsync"])
each_stock = pytest.mark.parametrize("stock", ["2", "3"])
THREE_MILLION = [["text repeat", "提示 prompt 🙂\n", 150_000]]
"""Edits whose one update takes 3 MB (20 bytes a line)."""

A_BIT_OF_EVERYTHING: list[list[object]] = [
    ["text insert", 0, "You are a careful translator."],
    ["text format", 10, 7, {"bold": True}],
    ["map set", "title", "Translator"],
    ["map set", "tags", ["work", None, True, {"nested": [1, -2, 2**40]}]],
    ["map nest", "versions", "first", "v1"],
    ["array push", "one"],
    ["array push", {"two": 2}],
    ["xml append", "paragraph", "Hello"],
    ["xml append", "paragraph", "World"],
    ["xml attribute", 0, "align", "left"],
]


def progress(device: NodeDevice, at: int = 0) -> dict[str, Any]:
    """How far a device on promptsync.v1 has come."""
    value = device.do("progress", at=at)
    assert isinstance(value, dict)
    return value


# --- the document ---


@each_other
def test_edits_of_every_type_go_both_ways(server: Server, account: Account, library: str, device: NewDevice, other: str) -> None:
    a, b = open_two(device, server, account, library, ("promptsync", other))

    a.edit(*A_BIT_OF_EVERYTHING)
    wait_until_equal(a, b)
    b.edit(["text append", " From B."], ["map set", "title", "B's"], ["array delete", 0, 1], ["xml delete", 1, 1])
    content = wait_until_equal(b, a)
    a.transact(["map delete", "title"], ["array push", "last"], ["text delete", 0, 4])

    a.wait("acknowledged")
    content = wait_until_equal(a, b)
    assert "".join(part["insert"] for part in content["text"]) == "are a careful translator. From B."
    assert content["map"] == {"tags": ["work", None, True, {"nested": [1, -2, 2**40]}], "versions": {"first": "v1"}}
    assert content["array"] == [{"two": 2}, "last"]
    assert content["xml"] == '<paragraph align="left">Hello</paragraph>'


@each_other
def test_edits_and_deletions_made_offline_on_both_sides_meet(
    server: Server, account: Account, library: str, device: NewDevice, other: str
) -> None:
    a, b = open_two(device, server, account, library, ("promptsync", other))
    a.edit(*A_BIT_OF_EVERYTHING)
    wait_until_equal(a, b)
    a.disconnect()
    b.disconnect()

    a.edit(["text append", " From A."], ["map set", "a", 1], ["map delete", "tags"], ["array delete", 0, 1], ["xml append", "a", "A"])
    b.edit(["text append", " From B."], ["map set", "b", 2], ["text delete", 0, 8], ["array push", "b"], ["map set", "title", "B's"])
    a.connect()
    b.connect()

    a.wait("synced")
    b.wait("synced")
    a.wait("acknowledged")
    content = wait_until_equal(a, b)
    words = "".join(part["insert"] for part in content["text"])
    assert words.startswith("a careful translator.")
    assert " From A." in words
    assert " From B." in words
    assert content["map"] == {"title": "B's", "versions": {"first": "v1"}, "a": 1, "b": 2}
    assert content["array"] == [{"two": 2}, "b"]
    assert "<a>A</a>" in content["xml"]


@each_other
def test_deletions_alone_reach_who_was_away(server: Server, account: Account, library: str, device: NewDevice, other: str) -> None:
    a, b = open_two(device, server, account, library, ("promptsync", other))
    a.edit(*A_BIT_OF_EVERYTHING)
    vector = wait_until_equal(a, b)["vector"]

    # pure deletions: no clock advances, so the vectors stay equal
    a.disconnect()
    b.edit(["text delete", 0, 8], ["map delete", "title"])
    a.edit(["array delete", 0, 1], ["xml delete", 1, 1])
    a.connect()

    a.wait("map_lacks", "title")
    a.wait("acknowledged")
    content = wait_until_equal(a, b)
    assert content["vector"] == vector
    assert content["array"] == [{"two": 2}]
    assert content["xml"] == '<paragraph align="left">Hello</paragraph>'
    assert content["map"].keys() == {"tags", "versions"}


@each_other
def test_text_beyond_the_basic_plane_stays_whole(server: Server, account: Account, library: str, device: NewDevice, other: str) -> None:
    a, b = open_two(device, server, account, library, ("promptsync", other))
    a.edit(["text insert", 0, "提示词:把下面的文字翻译成英文。👩‍👩‍👧‍👦🇨🇳𠮷"], ["map set", "标题 🏷️", "翻译𠮷 café"])
    wait_until_equal(a, b)
    a.disconnect()

    a.edit(["text insert", 4, "(请)🙏🏽"], ["text delete", 0, 3], ["array push", "𝔘𝔫𝔦"])
    b.edit(["text append", "😀完"], ["text insert", 0, "🀄"], ["map set", "标题 🏷️", "B：日本語 한국어"])
    a.connect()

    a.wait("acknowledged")
    content = wait_until_equal(a, b)
    assert "".join(part["insert"] for part in content["text"]) == "🀄:(请)🙏🏽把下面的文字翻译成英文。👩‍👩‍👧‍👦🇨🇳𠮷😀完"
    assert content["map"] == {"标题 🏷️": "B：日本語 한국어"}
    assert content["array"] == ["𝔘𝔫𝔦"]


@each_other
def test_devices_that_come_and_go_all_the_time_converge(
    server: Server, account: Account, library: str, device: NewDevice, other: str
) -> None:
    a, b = open_two(device, server, account, library, ("promptsync", other))

    words = come_and_go(a, b)

    a.wait("acknowledged")
    content = wait_until_equal(a, b)
    text = "".join(part["insert"] for part in content["text"])
    assert all(word in text for word in words)


@each_other
def test_an_update_of_three_megabytes_goes_both_ways_in_parts(
    server: Server, account: Account, library: str, device: NewDevice, other: str
) -> None:
    a, b = open_two(device, server, account, library, ("promptsync", other))

    a.edit(*THREE_MILLION)
    a.wait("acknowledged")
    wait_until_equal(a, b)
    assert progress(a)["parts"] == {"sent": 2, "received": 0}
    b.edit(*THREE_MILLION)
    wait_until_equal(b, a)
    assert progress(a)["parts"] == {"sent": 2, "received": 2}

    late = device("promptsync").open(server, library, account.sync_token)
    late.wait("synced")
    wait_until_equal(a, b, late)
    assert progress(late)["parts"]["received"] == 5


# --- presence ---


@each_stock
def test_presence_crosses_the_dialects_and_ends_with_a_goodbye(
    server: Server, account: Account, library: str, device: NewDevice, stock: str
) -> None:
    a, b = open_two(device, server, account, library, ("promptsync", stock))
    a.do("presence", state={"name": "甲 🙂", "cursor": 3})
    b.do("presence", state={"name": "b"})

    a.do("wait", until="presence", value={"id": b.client, "state": {"name": "b"}}, within=10000)
    b.do("wait", until="presence", value={"id": a.client, "state": {"name": "甲 🙂", "cursor": 3}}, within=10000)
    a.do("presence", state={"name": "甲 🙂", "cursor": 4})
    b.do("wait", until="presence", value={"id": a.client, "state": {"name": "甲 🙂", "cursor": 4}}, within=10000)

    a.leave()

    b.wait("absent", [a.client])


@each_stock
def test_presence_of_a_device_that_vanishes_is_removed_in_the_other_dialect(
    server: Server, account: Account, library: str, device: NewDevice, stock: str
) -> None:
    a, b = open_two(device, server, account, library, ("promptsync", stock))
    a.do("presence", state={"name": "a"})
    b.do("presence", state={"name": "b"})
    a.wait("present", [b.client])
    b.wait("present", [a.client])

    b.stop()

    a.wait("absent", [b.client])


@each_stock
def test_who_comes_later_sees_who_is_there(server: Server, account: Account, library: str, device: NewDevice, stock: str) -> None:
    a, b = open_two(device, server, account, library, ("promptsync", stock))
    a.do("presence", state={"name": "a"})
    b.do("presence", state={"name": "b"})
    a.wait("present", [b.client])

    late = device("promptsync").open(server, library, account.sync_token)

    late.wait("present", [a.client, b.client])


@each_stock
def test_closing_the_channel_says_goodbye(server: Server, account: Account, library: str, device: NewDevice, stock: str) -> None:
    a, b = open_two(device, server, account, library, ("promptsync", stock))
    a.do("presence", state={"name": "a"})
    b.wait("present", [a.client])

    a.do("close")

    a.wait("event", {"name": "channel closed", "code": 1000})
    b.wait("absent", [a.client])
    assert a.do("connection")["connected"] is True


# --- several libraries on one socket ---


@each_stock
def test_several_libraries_share_one_socket(server: Server, account: Account, device: NewDevice, stock: str) -> None:
    libraries = [server.create_library(account, f"Prompts {number}") for number in range(4)]
    shared = device("promptsync").open(server, libraries[0], account.sync_token)
    for number, library in enumerate(libraries[1:], start=1):
        assert shared.do("add", library=library)["at"] == number
    alone = [device(stock).open(server, library, account.sync_token) for library in libraries]

    for number, other in enumerate(alone):
        shared.do("wait", at=number, until="synced", within=10000)
        other.wait("synced")
        shared.do("edit", at=number, steps=[["map set", "shared", number]])
        other.edit(["map set", "alone", number], ["text append", f"only in {number}"])
    shared.do("close", at=3)
    shared.wait("event", {"name": "channel closed", "at": 3})
    alone[0].edit(["map set", "after", True])

    for number, other in enumerate(alone):
        other.wait("map_has", "shared")
        assert other.content()["map"]["shared"] == number
        if number < 3:
            shared.do("wait", at=number, until="text", value=f"only in {number}", within=10000)
    shared.wait("map_has", "after")
    assert shared.do("content", at=1)["map"] == {"shared": 1, "alone": 1}
    assert shared.do("connection")["openings"] == 1


def test_a_library_may_be_left_and_opened_again(server: Server, account: Account, library: str, device: NewDevice) -> None:
    a, b = open_two(device, server, account, library, ("promptsync", "promptsync"))
    a.do("close")
    a.wait("event", {"name": "channel closed", "code": 1000})
    a.edit(["map set", "meanwhile", "a"])
    b.edit(["map set", "meanwhile too", "b"])
    b.wait("acknowledged")

    a.do("reopen")

    a.wait("synced")
    a.wait("acknowledged")
    assert wait_until_equal(a, b)["map"] == {"meanwhile": "a", "meanwhile too": "b"}


def test_the_address_of_a_library_opens_any(server: Server, account: Account, library: str, device: NewDevice) -> None:
    another = server.create_library(account)
    a = device("promptsync")
    a.do("open", url=f"{server.sync_url}/{library}", library=another, token=account.sync_token)
    a.wait("synced")
    a.edit(["map set", "key", 1])
    a.wait("acknowledged")


# --- status ---


def test_a_status_tells_how_the_library_stands(server: Server, account: Account, library: str, device: NewDevice) -> None:
    a, b = open_two(device, server, account, library, ("promptsync", "3"))
    a.edit(["map set", "a", 1])
    a.wait("acknowledged")
    b.edit(["map set", "b", 1])
    a.wait("map_has", "b")

    a.do("status")

    a.wait("event", {"name": "status", "head": BORN + 2, "epoch": 1, "unsaved": 0, "storing": True, "ask": False})
    a.wait("cursor", BORN + 2)


@each_other
def test_a_device_that_is_asked_pushes_what_it_has(server: Server, device: NewDevice, other: str) -> None:
    account = server.register()  # one may force so often
    library = account.library_id
    a, b = open_two(device, server, account, library, ("promptsync", other))
    a.edit(*A_BIT_OF_EVERYTHING)
    wait_until_equal(a, b)
    a.do("hold")
    a.edit(["map set", "held back", 1], ["map delete", "title"])

    status, forced = server.request("POST", "/api/sync/force", {"library": library}, token=account.access_token)

    assert (status, forced["unfinished"]) == (200, [])
    a.wait("event", {"name": "status", "ask": True})
    witness = device("promptsync").open(server, library, account.sync_token)
    witness.wait("synced")
    content = wait_until_equal(a, b, witness)
    assert content["map"]["held back"] == 1
    assert "title" not in content["map"]
    clients = {each["client"] for each in forced["libraries"][0]["devices"]}
    assert "promptsync-interop 1" in clients


@each_other
def test_the_cursor_follows_the_log(server: Server, account: Account, library: str, device: NewDevice, other: str) -> None:
    a, b = open_two(device, server, account, library, ("promptsync", other))
    for turn in range(20):
        a.edit(["map set", f"a{turn}", turn])
        b.edit(["map set", f"b{turn}", turn])

    a.wait("cursor", BORN + 40)
    a.wait("acknowledged")
    a.disconnect()
    b.edit(["map set", "late", 1], ["map delete", "a0"])
    a.connect()

    a.wait("cursor", BORN + 42)
    content = wait_until_equal(a, b)
    assert "late" in content["map"]
    assert "a0" not in content["map"]
