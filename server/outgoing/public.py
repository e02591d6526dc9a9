"""Which addresses are of the public Internet: the only ones that are asked on a user's word.

From the IANA special-purpose registries of IPv4 and IPv6 (RFC 6890) and the multicast ones, and from where clouds keep what a
machine may ask about itself. `ipaddress` alone does not do: on Python 3.11 `is_global` holds for 224.0.0.1, for the loopback in its
NAT64 and 6to4 forms, and for Azure's 168.63.129.16. It is asked besides, so that an address has to pass both.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_REFUSED_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; 0.0.0.0 reaches this machine
        "10.0.0.0/8",
        "100.64.0.0/10",  # between a provider and its customers; Alibaba's metadata, 100.100.100.200
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's metadata
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata, 192.0.0.192
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_UNICAST_6 = IPv6Network("2000::/3")
"""All that is handed out of IPv6. Outside: loopback, mapped, NAT64, unique local (with AWS's metadata), link and site local, multicast."""
_REFUSED_6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, among them Teredo, benchmarks and ORCHIDs
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address of any kind inside
        "3fff::/20",
    )
)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address is one of the public Internet. An IPv4 address in its IPv6 form (`::ffff:…`) is what it is in its own."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        listed = address.scope_id is None and address in _UNICAST_6 and not any(address in network for network in _REFUSED_6)
    else:
        listed = not any(address in network for network in _REFUSED_4)
    return listed and address.is_global and not address.is_multicast
