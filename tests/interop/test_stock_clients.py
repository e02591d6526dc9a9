"""Unmodified yjs and y-websocket 2 and 3 in Node, against a real server process."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.interop.devices import NewDevice, NodeDevice, come_and_go, open_two, seeded, wait_until_equal
from tests.support.server import Account, Server

pytestmark = pytest.mark.node

Pair = tuple[str, str]
each_provider = pytest.mark.parametrize("provider", ["2", "3"])
each_pair = pytest.mark.parametrize("pair", [("2", "2"), ("3", "3"), ("2", "3")], ids="-".join)
SILENCE_SECONDS = 35
"""y-websocket 3 closes a connection on which it was sent nothing for 30 s, and looks every 3 s."""

A_BIT_OF_EVERYTHING: list[list[object]] = [
    ["text insert", 0, "You are a careful translator."],
    ["text format", 10, 7, {"bold": True}],
    ["text insert", 0, "System: ", {"italic": True}],
    ["map set", "title", "Translator"],
    ["map set", "temperature", 0.7],
    ["map set", "tags", ["work", None, True, {"nested": [1, -2, 2**40]}]],
    ["map nest", "versions", "first", "v1"],
    ["array push", "one"],
    ["array push", {"two": 2}],
    ["array insert", 0, "zero"],
    ["xml append", "paragraph", "Hello"],
    ["xml append", "paragraph", "World"],
    ["xml attribute", 0, "align", "left"],
]


@dataclass(frozen=True)
class Silent:
    """Devices that were opened when this module began, and say nothing; what each is asked is whether it stays for SILENCE_SECONDS."""

    devices: list[NodeDevice]
    asked: list[int]


@pytest.fixture(scope="module", autouse=True)
def silent(server: Server, account: Account) -> Iterator[Silent]:
    """The silence passes while the other tests run; the last test of this file waits for what is left of it."""
    libraries = {name: server.create_library(account) for name in ("together", "alone with", "alone without")}
    places = [(provider, "together", awareness) for provider in ("2", "3") for awareness in (True, False)]
    places += [("3", "alone with", True), ("3", "alone without", False)]
    with ExitStack() as ends:
        devices = [
            ends.enter_context(NodeDevice(provider)).open(server, libraries[place], account.sync_token, awareness=awareness)
            for provider, place, awareness in places
        ]
        for each in devices:
            each.wait("synced")
        yield Silent(devices, [each.ask("stay", milliseconds=SILENCE_SECONDS * 1000) for each in devices])


@each_pair
def test_an_edit_of_every_type_reaches_the_other_device(
    server: Server, account: Account, library: str, device: NewDevice, pair: Pair
) -> None:
    a, b = open_two(device, server, account, library, pair)

    a.edit(*A_BIT_OF_EVERYTHING)

    a.wait("acknowledged")
    content = wait_until_equal(a, b)
    assert content["text"] == [
        {"insert": "System: ", "attributes": {"italic": True}},
        {"insert": "You are a "},
        {"insert": "careful", "attributes": {"bold": True}},
        {"insert": " translator."},
    ]
    assert content["map"]["tags"] == ["work", None, True, {"nested": [1, -2, 2**40]}]
    assert content["map"]["versions"] == {"first": "v1"}
    assert content["array"] == ["zero", "one", {"two": 2}]
    assert content["xml"] == '<paragraph align="left">Hello</paragraph><paragraph>World</paragraph>'


@each_pair
def test_edits_made_offline_on_both_sides_meet(server: Server, account: Account, library: str, device: NewDevice, pair: Pair) -> None:
    a, b = open_two(device, server, account, library, pair)
    a.edit(*A_BIT_OF_EVERYTHING)
    wait_until_equal(a, b)
    a.disconnect()
    b.disconnect()

    a.edit(
        ["text append", " From A."], ["map set", "a", 1], ["array push", "a"], ["map nest", "versions", "a", "va"], ["xml append", "a", "A"]
    )
    b.edit(
        ["text append", " From B."], ["map set", "b", 2], ["array push", "b"], ["map nest", "versions", "b", "vb"], ["xml append", "b", "B"]
    )
    a.edit(["map set", "title", "A's"])
    b.edit(["map set", "title", "B's"], ["text format", 0, 6, {"bold": True}])
    a.connect()
    b.connect()

    a.wait("synced")
    b.wait("synced")
    content = wait_until_equal(a, b)
    words = "".join(part["insert"] for part in content["text"])
    assert " From A." in words
    assert " From B." in words
    assert (content["map"]["a"], content["map"]["b"]) == (1, 2)
    assert content["map"]["title"] in {"A's", "B's"}
    assert content["map"]["versions"] == {"first": "v1", "a": "va", "b": "vb"}
    assert sorted(content["array"][-2:]) == ["a", "b"]
    assert "<a>A</a>" in content["xml"]
    assert "<b>B</b>" in content["xml"]


@each_pair
def test_deletions_made_while_the_other_is_away_arrive(
    server: Server, account: Account, library: str, device: NewDevice, pair: Pair
) -> None:
    a, b = open_two(device, server, account, library, pair)
    a.edit(*A_BIT_OF_EVERYTHING)
    wait_until_equal(a, b)
    vector = b.content()["vector"]
    b.disconnect()

    # pure deletions: no clock advances, so the vectors stay equal
    a.edit(["text delete", 0, 8], ["map delete", "title"], ["array delete", 0, 2], ["xml delete", 1, 1])
    assert a.content()["vector"] == vector
    b.connect()

    b.wait("map_lacks", "title")
    content = wait_until_equal(a, b)
    assert content["text"][0] == {"insert": "You are a "}
    assert content["array"] == [{"two": 2}]
    assert content["xml"] == '<paragraph align="left">Hello</paragraph>'


@each_pair
def test_deletions_made_offline_reach_who_stayed(server: Server, account: Account, library: str, device: NewDevice, pair: Pair) -> None:
    a, b = open_two(device, server, account, library, pair)
    a.edit(*A_BIT_OF_EVERYTHING)
    wait_until_equal(a, b)
    a.disconnect()
    a.edit(["text delete", 0, 8], ["map delete", "tags"])

    a.connect()

    b.wait("map_lacks", "tags")
    content = wait_until_equal(a, b)
    assert content["text"][0] == {"insert": "You are a "}


@each_pair
def test_a_new_device_gets_everything_with_its_first_sync(
    server: Server, account: Account, library: str, device: NewDevice, pair: Pair
) -> None:
    a = device(pair[0]).open(server, library, account.sync_token)
    a.wait("synced")
    a.edit(*A_BIT_OF_EVERYTHING)
    a.edit(["text delete", 3, 4], ["map delete", "temperature"])
    a.wait("acknowledged")
    a.leave()

    b = device(pair[1]).open(server, library, account.sync_token)

    b.wait("synced")
    content = b.content()  # at once: `sync` must not fire before the data is there
    assert content["map"]["title"] == "Translator"
    assert "temperature" not in content["map"]
    assert content["array"] == ["zero", "one", {"two": 2}]


@each_pair
def test_text_beyond_the_basic_plane_stays_whole(server: Server, account: Account, library: str, device: NewDevice, pair: Pair) -> None:
    a, b = open_two(device, server, account, library, pair)
    a.edit(["text insert", 0, "提示词:把下面的文字翻译成英文。👩‍👩‍👧‍👦🇨🇳𠮷"], ["map set", "标题 🏷️", "翻译𠮷 café"])
    wait_until_equal(a, b)
    a.disconnect()
    b.disconnect()

    a.edit(["text insert", 4, "(请)🙏🏽"], ["text delete", 0, 3], ["array push", "𝔘𝔫𝔦"])
    b.edit(["text append", "😀完"], ["text insert", 0, "🀄"], ["map set", "标题 🏷️", "B：日本語 한국어"])
    a.connect()
    b.connect()

    a.wait("synced")
    b.wait("synced")
    content = wait_until_equal(a, b)
    words = "".join(part["insert"] for part in content["text"])
    assert words == "🀄:(请)🙏🏽把下面的文字翻译成英文。👩‍👩‍👧‍👦🇨🇳𠮷😀完"
    assert content["map"] == {"标题 🏷️": "B：日本語 한국어"}
    assert content["array"] == ["𝔘𝔫𝔦"]


@each_pair
def test_devices_that_come_and_go_all_the_time_converge(
    server: Server, account: Account, library: str, device: NewDevice, pair: Pair
) -> None:
    a, b = open_two(device, server, account, library, pair)

    words = come_and_go(a, b)

    content = wait_until_equal(a, b)
    text = "".join(part["insert"] for part in content["text"])
    assert all(word in text for word in words)


@each_pair
def test_presence_is_seen_and_ends_with_a_goodbye(server: Server, account: Account, library: str, device: NewDevice, pair: Pair) -> None:
    a, b = open_two(device, server, account, library, pair)
    a.do("presence", state={"name": "甲 🙂", "cursor": 3})
    b.do("presence", state={"name": "b"})

    a.wait("present", [b.client])
    b.wait("present", [a.client])
    a.do("presence", state={"name": "甲 🙂", "cursor": 4})
    b.do("wait", until="presence", value={"id": a.client, "state": {"name": "甲 🙂", "cursor": 4}}, within=10000)

    b.leave()

    a.wait("absent", [b.client])


@each_provider
def test_presence_of_a_device_that_vanishes_is_removed(
    server: Server, account: Account, library: str, device: NewDevice, provider: str
) -> None:
    a, b = open_two(device, server, account, library, (provider, provider))
    b.do("presence", state={"name": "b"})
    a.wait("present", [b.client])

    b.stop()

    a.wait("absent", [b.client])


@each_provider
def test_presence_of_those_who_are_there_reaches_who_comes_later(
    server: Server, account: Account, library: str, device: NewDevice, provider: str
) -> None:
    a = device(provider).open(server, library, account.sync_token)
    a.do("presence", state={"name": "a"})
    a.wait("synced")

    b = device(provider).open(server, library, account.sync_token)

    b.wait("present", [a.client])


@each_provider
def test_a_wrong_token_is_told_by_its_close_code(server: Server, account: Account, library: str, device: NewDevice, provider: str) -> None:
    stranger = device(provider).open(server, library, "not-a-token")

    stranger.wait("event", {"name": "close", "code": 4401})

    if provider == "3":
        stranger.wait("event", {"name": "closed", "code": 4401})
        assert stranger.do("connection")["shouldConnect"] is False
        # the first retry would come after 200 ms, the longest pause between two is 2.5 s
        assert stranger.do("stay_closed", milliseconds=3000), stranger.do("events")
        assert stranger.do("connection")["openings"] == 1
    stranger.disconnect()


@each_provider
def test_a_library_of_somebody_else_is_refused_and_shows_nothing(
    server: Server, account: Account, library: str, device: NewDevice, provider: str
) -> None:
    owner = device(provider).open(server, library, account.sync_token)
    owner.wait("synced")
    owner.edit(["map set", "secret", "mine"])
    owner.wait("acknowledged")
    stranger = device(provider).open(server, library, server.register().sync_token, connect=False)
    stranger.edit(["map set", "intruder", 1])

    stranger.connect()

    stranger.wait("events", {"name": "close", "count": 1})
    stranger.disconnect()
    closes = [event["code"] for event in stranger.do("events") if event["name"] == "close" and event["code"] is not None]
    assert set(closes) <= {4403, 4404}
    assert closes
    assert stranger.content()["map"] == {"intruder": 1}
    assert owner.content()["map"] == {"secret": "mine"}


@each_pair
def test_edits_survive_a_killed_server(own_server: Server, device: NewDevice, pair: Pair) -> None:
    account = own_server.register()
    a, b = open_two(device, own_server, account, account.library_id, pair)
    a.do("type", prefix="a", count=20000, burst=5)
    b.do("type", prefix="b", count=20000, burst=5)
    a.wait("acknowledged_past", 200)
    b.wait("acknowledged_past", 200)

    own_server.kill9()
    a.wait("connected", False)
    b.wait("connected", False)
    a.do("rest")
    b.do("rest")
    told = {each.client: each.do("progress")["acknowledged"] for each in (a, b)}
    a.disconnect()
    b.disconnect()
    own_server.start()

    # a device that never met the others sees what they were told is stored
    witness = device(pair[1]).open(own_server, account.library_id, account.sync_token)
    witness.wait("synced")
    held = witness.content()["vector"]
    assert all(held.get(str(client), 0) >= clock for client, clock in told.items()), (held, told)

    a.connect()
    b.connect()
    a.wait("synced")
    b.wait("synced")
    content = wait_until_equal(a, b, witness)
    written = {each.client: each.do("progress")["clock"] for each in (a, b)}
    assert content["vector"] == seeded(written)
    assert len(content["map"]) == sum(written.values())


def test_silence_closes_nothing(silent: Silent) -> None:
    """Real time passes: the providers' own clocks are what is tested."""
    devices = silent.devices
    stayed = [each.answer(number, within=SILENCE_SECONDS + 20) for each, number in zip(devices, silent.asked, strict=True)]

    assert all(stayed), [each.do("events") for each in devices]
    assert [each.do("connection")["openings"] for each in devices] == [1] * len(devices)
    devices[0].edit(["text append", "still here"])
    for other in devices[1:4]:
        other.wait("text", "still here")
