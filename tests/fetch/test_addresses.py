"""Only public addresses pass, in whatever spelling or wrapping a resolver may give another one."""

from __future__ import annotations

import pytest
from httpcore2 import ConnectError

from app.fetch.addresses import is_public
from app.fetch.connecting import CheckedBackend
from tests.fetch.hosts import Host, Internet

PUBLIC = [
    "93.184.216.34",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "2606:2800:220:1::1",
    "2a00:1450:4001::1",
    "::ffff:93.184.216.34",
    "64:ff9b::93.184.216.34",
]
NOT_PUBLIC = {
    "this host": "0.0.0.0",
    "this network": "0.1.2.3",
    "private, 10": "10.0.0.1",
    "private, 172.16": "172.16.0.1",
    "private, 172.31": "172.31.255.255",
    "private, 192.168": "192.168.1.1",
    "shared by carriers": "100.64.0.1",
    "loopback": "127.0.0.1",
    "loopback, far": "127.255.255.254",
    "link-local, cloud metadata": "169.254.169.254",
    "protocols": "192.0.0.1",
    "protocols, anycast": "192.0.0.9",
    "documentation": "192.0.2.1",
    "6to4 relays": "192.88.99.1",
    "benchmarks": "198.18.0.1",
    "multicast": "224.0.0.1",
    "multicast, administered": "239.255.255.255",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "unspecified": "::",
    "loopback, v6": "::1",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped loopback, in hex": "::ffff:7f00:1",
    "mapped private": "::ffff:10.0.0.1",
    "compatible loopback": "::127.0.0.1",
    "compatible public": "::93.184.216.34",
    "translated": "::ffff:0:127.0.0.1",
    "NAT64 of loopback": "64:ff9b::127.0.0.1",
    "NAT64 of private": "64:ff9b::a00:1",
    "NAT64 of metadata": "64:ff9b::169.254.169.254",
    "NAT64 of a site": "64:ff9b:1::93.184.216.34",
    "6to4 of loopback": "2002:7f00:1::",
    "6to4 of private": "2002:a00:1::1",
    "6to4 of public": "2002:5db8:d822::1",
    "Teredo": "2001:0:5db8:d822:0:0:a247:27dd",
    "ORCHID": "2001:20::1",
    "documentation, v6": "2001:db8::1",
    "documentation, v6, new": "3fff::1",
    "ISATAP of private": "2606:2800:220:1:0:5efe:10.0.0.1",
    "ISATAP, global bit": "2606:2800:220:1:200:5efe:a00:1",
    "discard": "100::1",
    "unique local": "fd00::1",
    "unique local, cloud metadata": "fd00:ec2::254",
    "site-local": "fec0::1",
    "link-local, v6": "fe80::1",
    "link-local with a zone": "fe80::1%eth0",
    "public with a zone": "2606:2800:220:1::1%1",
    "segment routing": "5f00::1",
    "multicast, v6": "ff02::1",
    "decimal": "2130706433",
    "hexadecimal": "0x7f000001",
    "octal": "0177.0.0.1",
    "short": "127.1",
    "a name": "localhost",
    "nothing": "",
}
SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "fe80::1%lo",
    "0.0.0.0",
    "0",
    "localhost",
]
"""As the system's own resolver understands them."""


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_passes(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("case", NOT_PUBLIC)
def test_any_other_does_not(case: str) -> None:
    assert not is_public(NOT_PUBLIC[case])


@pytest.mark.anyio
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_of_a_local_address_is_connected_to(spelling: str) -> None:
    internet = Internet(Host())
    with pytest.raises(ConnectError, match=r"not public|does not resolve"):
        await CheckedBackend(network=internet).connect_tcp(spelling, 443)
    assert internet.connected == []
