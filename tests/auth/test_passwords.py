"""Passwords: right and wrong, nobody's, old hashes, and what happens when too many come at once."""

import asyncio
import statistics
import threading
import time
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher
from argon2.low_level import Type

from auth import passwords
from auth.errors import TooBusy, WeakPassword
from auth.passwords import Passwords, common, require_acceptable


@pytest.fixture
def cheap() -> Iterator[Passwords]:
    hashing = Passwords(memory_kib=8)
    yield hashing
    hashing.close()


async def test_a_right_password_is_told_from_a_wrong_one(cheap: Passwords) -> None:
    stored = await cheap.hash("correct horse")
    assert stored.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert (await cheap.check("correct horse", stored)).correct
    assert not (await cheap.check("correct horsf", stored)).correct
    assert stored != await cheap.hash("correct horse")


async def test_nobodys_password_is_never_right(cheap: Passwords) -> None:
    assert not (await cheap.check("", None)).correct
    assert not (await cheap.check("correct horse", None)).correct


async def test_a_stored_text_that_is_no_hash_lets_nobody_in(cheap: Passwords) -> None:
    for broken in ("x", "$argon2id$v=19$m=8,t=1,p=1$AAAA", "plain"):
        assert not (await cheap.check(broken, broken)).correct


async def test_a_hash_with_other_parameters_is_outdated(cheap: Passwords) -> None:
    old = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1, type=Type.ID).hash("correct horse")
    checked = await cheap.check("correct horse", old)
    assert (checked.correct, checked.outdated) == (True, True)
    assert not (await cheap.check("wrong horse", old)).outdated
    assert not (await cheap.check("correct horse", await cheap.hash("correct horse"))).outdated


async def test_an_unknown_user_takes_as_long_as_a_known_one() -> None:
    hashing = Passwords(memory_kib=8 * 1024)
    stored = await hashing.hash("correct horse")

    taken: dict[str | None, list[float]] = {stored: [], None: []}
    for _ in range(15):
        for of, times in taken.items():
            started = time.perf_counter()
            await hashing.check("wrong horse", of)
            times.append(time.perf_counter() - started)
    known, unknown = (statistics.median(times) for times in taken.values())
    hashing.close()
    # no hash at all would be a hundred times faster; the bound leaves room for a busy machine
    assert 1 / 3 < known / unknown < 3


def gated(monkeypatch: pytest.MonkeyPatch) -> tuple[Passwords, threading.Event]:
    """One that hashes one at a time with two waiting, and what has to be set before it ends any."""
    gate, hashing = threading.Event(), Passwords(memory_kib=8, cores=1, max_waiting=2)
    real = hashing._hasher.hash
    monkeypatch.setattr(hashing, "_hasher", type("Slow", (), {"hash": staticmethod(lambda text: (gate.wait(10), real(text))[1])})())
    return hashing, gate


async def test_what_is_too_much_is_refused_and_what_waits_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    hashing, gate = gated(monkeypatch)
    waiting = [asyncio.create_task(hashing.hash("correct horse")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(TooBusy):
        await hashing.hash("correct horse")
    gate.set()
    assert len(await asyncio.gather(*waiting)) == 3
    assert await hashing.hash("correct horse")
    hashing.close()


async def test_callers_that_go_away_free_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    hashing, gate = gated(monkeypatch)
    waiting = [asyncio.create_task(hashing.hash("correct horse")) for _ in range(3)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    gate.set()
    # the one that ran still counts until its thread is done; the ones that waited do not
    assert len(await asyncio.gather(hashing.hash("correct horse"), hashing.hash("correct horse"))) == 2
    assert await hashing.hash("correct horse")
    hashing.close()


async def test_the_event_loop_goes_on_while_passwords_are_hashed() -> None:
    hashing = Passwords(memory_kib=32 * 1024, cores=1)
    task = asyncio.create_task(hashing.hash("correct horse"))
    turns = 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    hashing.close()
    assert turns > 10


@pytest.mark.parametrize("good", ["kqzvbnwt", "82640937", "x" * 256, "\u5bc6\u7801" * 128, "        ", "\0" * 8])
def test_there_is_no_rule_about_kinds_of_characters(good: str) -> None:
    require_acceptable(good, "ada@example.com")


def test_at_least_the_three_thousand_commonest_are_known() -> None:
    """OWASP ASVS 6.2.4: those that the rule about length lets pass."""
    listed = common()
    assert len(listed) >= 3_000
    assert {len(password) >= passwords.MIN_CHARACTERS and password == password.casefold() for password in listed} == {True}
    famous = ["password", "12345678", "123456789", "qwertyuiop", "iloveyou", "sunshine", "princess", "football", "baseball", "trustno1"]
    famous += ["password1", "1qaz2wsx", "1q2w3e4r", "qwerty123", "p@ssw0rd", "passw0rd", "letmein1", "superman", "starwars", "abcd1234"]
    famous += ["11111111", "88888888", "987654321", "woaini1314", "5201314520", "zaq12wsx", "asdfghjkl", "michelle", "jennifer", "welcome1"]
    assert [password for password in famous if password not in listed] == []


@pytest.mark.parametrize("bad", ["password1", "PassWord1", "QWERTYUIOP", "P@SSW0RD", "!@#$%^&*"])
def test_what_many_people_have_is_refused_in_any_case_of_letters(bad: str) -> None:
    with pytest.raises(WeakPassword, match="many people"):
        require_acceptable(bad)


@pytest.mark.parametrize("bad", ["Ada.Lovelace@Example.com", "ada.lovelace@example.com", "ADA.lovelace"])
def test_the_address_is_no_password_and_neither_is_what_stands_before_its_at(bad: str) -> None:
    with pytest.raises(WeakPassword, match="address"):
        require_acceptable(bad, "ada.lovelace@example.com")
    require_acceptable("example.com", "ada.lovelace@example.com")
    require_acceptable("ada.lovelace!", "ada.lovelace@example.com")


async def test_passwords_are_told_apart_byte_for_byte(cheap: Passwords) -> None:
    for one, other in (
        ("x" * 72 + "a", "x" * 72 + "b"),
        ("x" * 255 + "a", "x" * 255 + "b"),
        ("caf\u00e9caf\u00e9", "cafe\u0301cafe\u0301"),
        ("12345678\0a", "12345678\0b"),
        (" 12345678", "12345678"),
        ("Stra\u00dfe 12", "STRASSE 12"),
        ("\U0001f600" * 8, "\U0001f600" * 9),
    ):
        stored = await cheap.hash(one)
        assert (await cheap.check(one, stored)).correct
        assert not (await cheap.check(other, stored)).correct


@pytest.mark.parametrize("bad", ["", "1234567", "x" * 257, "\U0001f600" * 257, "\ud800" * 8])
def test_what_breaks_it_is_refused(bad: str) -> None:
    with pytest.raises(WeakPassword):
        require_acceptable(bad)


def test_the_parameters_are_the_ones_that_were_chosen() -> None:
    assert passwords.MEMORY_KIB == 46 * 1024
    hashing = Passwords()
    assert "$m=47104,t=1,p=1$" in hashing._decoy
    hashing.close()
