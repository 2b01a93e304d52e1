"""Which network addresses may be connected to: public ones, whatever they are wrapped in. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

NAT64 = IPv6Network("64:ff9b::/96")
"""Public IPv4 addresses as networks without IPv4 reach them (RFC 6052): the IPv4 address inside decides."""
UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that is handed out as public; what lies outside it is local, reserved, or wraps another address."""
NOT_PUBLIC = (
    IPv6Network("2002::/16"),  # 6to4, a tunnel of the past that wraps an IPv4 address (RFC 7526)
    IPv6Network("2001::/23"),  # protocols' own addresses, such as Teredo's, another such tunnel
    IPv6Network("3fff::/20"),  # documentation, which older Python versions take for public
)
NOT_PUBLIC_4 = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"), IPv4Network("224.0.0.0/4"))
ISATAP = (0x00005EFE, 0x02005EFE)
"""The third quarter of an IPv6 address that wraps an IPv4 address of a link (RFC 5214)."""


def is_public(text: str) -> bool:
    """Whether an address, as a resolver gives it, is one of the public internet. False for what is no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return _is_public_4(address)
    if address.scope_id is not None:  # a zone: of one link of this machine
        return False
    if address.ipv4_mapped is not None:
        return _is_public_4(address.ipv4_mapped)
    if address in NAT64:
        return _is_public_4(IPv4Address(int(address) & 0xFFFFFFFF))
    return _is_public_6(address)


def _is_public_4(address: IPv4Address) -> bool:
    return address.is_global and not any(address in network for network in NOT_PUBLIC_4)


def _is_public_6(address: IPv6Address) -> bool:
    if (int(address) >> 32) & 0xFFFFFFFF in ISATAP:
        return False
    return address in UNICAST and address.is_global and not any(address in network for network in NOT_PUBLIC)
