"""Every range that is not of the public Internet, to its edges, and the public neighbours beyond them."""

from ipaddress import ip_address

import pytest

from server.outgoing.public import is_public

REFUSED = {
    "this network": ("0.0.0.0", "0.255.255.255"),
    "private 10": ("10.0.0.0", "10.255.255.255"),
    "carriers": ("100.64.0.0", "100.127.255.255"),
    "loopback": ("127.0.0.0", "127.255.255.255"),
    "Azure": ("168.63.129.16", "168.63.129.16"),
    "link-local": ("169.254.0.0", "169.254.255.255"),
    "private 172": ("172.16.0.0", "172.31.255.255"),
    "protocol assignments": ("192.0.0.0", "192.0.0.255"),
    "documentation 1": ("192.0.2.0", "192.0.2.255"),
    "6to4 relays": ("192.88.99.0", "192.88.99.255"),
    "private 192": ("192.168.0.0", "192.168.255.255"),
    "benchmarks": ("198.18.0.0", "198.19.255.255"),
    "documentation 2": ("198.51.100.0", "198.51.100.255"),
    "documentation 3": ("203.0.113.0", "203.0.113.255"),
    "multicast and reserved": ("224.0.0.0", "255.255.255.255"),
    "all below 2000::/3": ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    "IETF protocols": ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    "documentation 6": ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    "6to4": ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    "documentation 6, the later one": ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    "all above 2000::/3": ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
}
PUBLIC_NEIGHBOURS = {
    "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0",
    "192.0.1.255", "192.0.3.0", "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
    "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255",
    "2000::", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::",
    "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::",
    "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
}  # fmt: skip
OTHERWISE_SPELLED = (
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "fec0::1", "fe80::1", "ff02::1",
    "fd00:ec2::254", "::1", "::", "100.100.100.200", "192.0.0.192", "255.255.255.255", "fe80::1%eth0", "2606:4700::1%eth0",
)  # fmt: skip
"""Metadata services, and private IPv4 addresses in every IPv6 clothing."""


@pytest.mark.parametrize(("first", "last"), REFUSED.values(), ids=REFUSED)
def test_a_special_range_is_not_public_from_its_first_address_to_its_last(first: str, last: str) -> None:
    low, high = ip_address(first), ip_address(last)
    middle = type(low)((int(low) + int(high)) // 2)
    assert not any(map(is_public, (low, middle, high)))


@pytest.mark.parametrize("address", sorted(PUBLIC_NEIGHBOURS))
def test_its_neighbours_are_public(address: str) -> None:
    assert is_public(ip_address(address))


def test_the_neighbours_are_those_of_all_ranges() -> None:
    edges = {(type(ip_address(first)), int(ip_address(first)) - 1) for first, _ in REFUSED.values()}
    edges |= {(type(ip_address(last)), int(ip_address(last)) + 1) for _, last in REFUSED.values()}
    named = {(type(ip_address(text)), int(ip_address(text))) for text in PUBLIC_NEIGHBOURS}
    beyond = [kind(number) for kind, number in edges if 0 <= number < 1 << kind(0).max_prefixlen and (kind, number) not in named]
    assert not any(map(is_public, beyond))  # those lie in another range


@pytest.mark.parametrize("address", OTHERWISE_SPELLED)
def test_what_hides_in_another_form_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8"])
def test_what_is_public_is(address: str) -> None:
    assert is_public(ip_address(address))


def test_the_standard_library_alone_would_let_some_of_them_through() -> None:
    """Why there are tables of our own: without any of these, `is_global` would do."""
    spared = [text for text in OTHERWISE_SPELLED if ip_address(text).is_global]
    assert {"64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1", "::127.0.0.1"} <= set(spared)
