"""Whose word about a caller is believed: the proxies that X-Forwarded-For and X-Forwarded-Proto are taken from.

Nobody's by default: anyone can send these headers. What is believed goes into the log and decides nothing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
"""Some gateways write the caller's port too: 192.0.2.7:4711, [2001:db8::7]:4711."""
SCHEMES = {b"http": "http", b"https": "https"}


class Proxies:
    """The networks that our own proxies are in."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        self._client = functools.lru_cache(maxsize=4096)(self._find)  # callers ask more than once

    def caller(self, scope: Scope) -> dict[str, str | None]:
        """Who asks, as `client` and `scheme` of the log line.

        `client` is the last address that is none of our proxies', going back from the connection along what each of
        our proxies says of the one before it; the furthest of ours where all are; None where a proxy of ours says what
        is no address, or the connection has none. `scheme` is what the nearest proxy was asked by.
        """
        peer = scope.get("client")
        said, scheme = [], b""
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                said.append(value)  # a proxy adds to the end, or a line of its own
            elif name == b"x-forwarded-proto":
                scheme = value
        client, believed = self._client("" if peer is None else peer[0], b",".join(said))
        scheme = scheme.rpartition(b",")[2].strip().lower()
        return {"client": client, "scheme": SCHEMES.get(scheme if believed else b"", scope.get("scheme", "http"))}

    def _find(self, peer: str, said: bytes) -> tuple[str | None, bool]:
        """The client, and whether the connection is from a proxy of ours."""
        address = _parse(peer)
        believed = self._is_ours(address)
        hops = [hop for part in said.decode("latin-1").split(",") if (hop := part.strip())]
        while hops and self._is_ours(address):
            address = _parse(hops.pop())
        return None if address is None else str(address), believed

    def _is_ours(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _parse(text: str) -> Address | None:
    """The address that is meant, an IPv4 one where IPv6 carries it; None for anything else."""
    found = WITH_PORT.fullmatch(text)
    try:
        address = ip_address(text if found is None else found[1] or found[2])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
