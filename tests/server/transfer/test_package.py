"""Zips: what is refused before anything of it is unpacked."""

import io
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import MalformedFile, UnsafePackage
from server.transfer import package as packages
from server.transfer.package import MAX_RATIO, RATIO_FROM_BYTES, Package
from tests.support.samples import backup, packed


def zipped(write: Callable[[zipfile.ZipFile], object]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as made:
        write(made)
    return content.getvalue()


def named(*names: str) -> bytes:
    return zipped(lambda made: list(map(made.writestr, names, ["{}"] * len(names))))


def refusal(data: bytes) -> str:
    with pytest.raises(UnsafePackage) as refused:
        Package(data)
    return refused.value.what


def test_a_backup_is_opened_and_its_images_are_counted() -> None:
    package = Package(backup())
    assert "app-data.json" in package
    assert "library.json" not in package
    assert package.read("app-data.json").startswith(b"{")
    assert package.resources == 1
    assert Package(named("resources/images/.keep", "resources/images/", "a.json")).resources == 0


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../library.json", "a/../../b", "a/..", "..", "C:/x", "c:x", "a\\b", "..\\x", "\\\\host\\x", "a//b", "./a", "."],
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    assert refusal(named("library.json", name)) == "name"


def test_a_name_with_nul_is_refused_though_it_is_read_without() -> None:
    data = named("library.jsonX").replace(b"library.jsonX", b"library.json\0")
    assert refusal(data) == "name"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused() -> None:
    assert refusal(named("library.json", "library.json")) == "duplicate"
    assert refusal(named("library.json", "Library.JSON")) == "duplicate"


def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MOST_ENTRIES", 3)
    Package(named("a", "b", "c"))
    assert refusal(named("a", "b", "c", "d")) == "entries"


def test_a_bomb_is_refused_by_its_ratio_before_it_is_unpacked() -> None:
    assert refusal(zipped(lambda made: made.writestr("library.json", bytes(32 << 20)))) == "ratio"
    Package(zipped(lambda made: made.writestr("library.json", bytes(RATIO_FROM_BYTES))))
    assert MAX_RATIO == 200


def test_what_claims_too_much_in_all_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MAX_UNPACKED_BYTES", 100)
    assert refusal(zipped(lambda made: list(map(made.writestr, "ab", [bytes(60)] * 2)))) == "size"


def test_an_entry_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package(zipped(lambda made: made.writestr("library.json", bytes(101))))
    monkeypatch.setattr(packages, "MAX_JSON_BYTES", 100)
    with pytest.raises(UnsafePackage):
        package.read("library.json")


def test_an_entry_that_is_larger_than_it_says_is_not_taken() -> None:
    data = zipped(lambda made: made.writestr("library.json", bytes(500)))
    lying = data.replace((500).to_bytes(4, "little"), (5).to_bytes(4, "little"))
    assert lying != data
    with pytest.raises(MalformedFile):
        Package(lying).read("library.json")


def test_damaged_and_encrypted_entries_are_malformed() -> None:
    data = bytearray(zipped(lambda made: made.writestr("library.json", b"{}" * 50)))
    data[45] ^= 0xFF
    with pytest.raises(MalformedFile):
        Package(bytes(data)).read("library.json")
    encrypted = bytearray(named("library.json"))
    central = encrypted.index(b"PK\x01\x02")
    encrypted[central + 8] |= 1
    with pytest.raises(MalformedFile):
        Package(bytes(encrypted)).read("library.json")


def test_other_ways_of_compressing_are_malformed() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_LZMA) as made:
        made.writestr("library.json", "{}")
    with pytest.raises(MalformedFile):
        Package(content.getvalue()).read("library.json")


def test_half_a_zip_is_malformed() -> None:
    data = packed({"library.json": {}})
    for end in range(4, len(data), 7):
        with pytest.raises(MalformedFile):
            Package(data[:end])


@given(st.data())
def test_any_change_of_a_byte_gives_the_package_or_a_refusal(data: st.DataObject) -> None:
    whole = bytearray(packed({"library.json": {"a": 1}, "favorites.json": {}}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        package = Package(bytes(whole))
        for name in ("library.json", "favorites.json"):
            if name in package:
                package.read(name)
    except (MalformedFile, UnsafePackage):
        pass


@pytest.mark.parametrize("place", [2**63 - 5, 2**64 - 5])
def test_a_package_whose_entry_lies_past_all_bytes_is_malformed(place: int) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        made.writestr("library.json", "{}")
        made.filelist[0].header_offset = place
    with pytest.raises(MalformedFile):
        Package(content.getvalue()).read("library.json")
