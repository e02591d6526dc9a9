"""Whose address it is, and what counts as one."""

import pytest
from starlette.types import Scope

from server.limits import bucket_of, client_address, trusted_networks

PROXY = trusted_networks("10.0.0.1, 10.1.0.0/16, ::1")


def scope(peer: str | None, *forwarded: str, **headers: str) -> Scope:
    lines = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    lines += [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "client": None if peer is None else (peer, 1), "headers": lines}


def test_addresses_of_one_ipv6_network_count_as_one() -> None:
    assert bucket_of("2001:db8::1") == bucket_of("2001:db8::ffff:1") != bucket_of("2001:db8:0:1::1")
    assert bucket_of("192.0.2.1") != bucket_of("192.0.2.2")
    assert bucket_of("::ffff:192.0.2.1") == bucket_of("192.0.2.1") == "192.0.2.1"
    assert bucket_of("fe80::1%eth0") == bucket_of("fe80::1%eth1") == "fe80::/64"
    assert bucket_of("unknown") == "unknown"


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.9", ("198.51.100.1",), "192.0.2.9"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("203.0.113.5, 198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("203.0.113.5", "198.51.100.1"), "198.51.100.1"),
        ("10.0.0.1", ("203.0.113.5, 198.51.100.1, 10.1.2.3",), "198.51.100.1"),
        ("10.0.0.1", ("198.51.100.1, nonsense",), "10.0.0.1"),
        ("10.0.0.1", ("\xff, 198.51.100.1",), "198.51.100.1"),
        ("::ffff:10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("::1", ("2001:db8::7",), "2001:db8::7"),
        (None, ("198.51.100.1",), "unknown"),
        ("", ("198.51.100.1",), "unknown"),
        ("testclient", ("198.51.100.1",), "testclient"),
        ("::ffff:192.0.2.9", ("198.51.100.1",), "192.0.2.9"),
        ("fe80::9%eth0", (), "fe80::9"),
        ("10.0.0.1", ("203.0.113.5, 198.51.100.1:4711",), "198.51.100.1"),
        ("10.0.0.1", ("[2001:DB8::0:7]:4711, 10.1.0.9:80",), "2001:db8::7"),
        ("10.0.0.1", ("2001:db8::7",), "2001:db8::7"),
        ("10.0.0.1", ("[2001:db8::7]",), "2001:db8::7"),
        ("10.0.0.1", ("::ffff:198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("198.51.100.1:",), "198.51.100.1"),
        ("10.0.0.1", ("198.51.100.1, ",), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1, :80",), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1, [",), "10.0.0.1"),
        ("10.0.0.1", (",".join(["10.1.0.1"] * 5000),), "10.1.0.1"),
    ],
)
def test_forwarded_addresses_are_believed_from_trusted_proxies_only(peer: str | None, forwarded: tuple[str, ...], expected: str) -> None:
    assert client_address(scope(peer, *forwarded), PROXY) == expected


def test_a_proxy_setting_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="proxy"):
        trusted_networks("proxy.example.com")


def test_no_other_header_for_it_is_read() -> None:
    others = dict.fromkeys(("x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "x-forwarded"), "198.51.100.1")
    assert client_address(scope("10.0.0.1", **others), PROXY) == "10.0.0.1"
    assert client_address(scope("10.0.0.1", forwarded="for=198.51.100.1"), PROXY) == "10.0.0.1"
    assert client_address(scope("10.0.0.1", "198.51.100.2", forwarded="for=198.51.100.1"), PROXY) == "198.51.100.2"
