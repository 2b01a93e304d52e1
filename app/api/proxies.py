"""Whose word about a caller is believed: the proxies that X-Forwarded-For and X-Forwarded-Proto are taken from.

Nobody's by default: anyone can send these headers. What is believed goes into the log and decides nothing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
"""Some gateways write the caller's port too: 192.0.2.7:4711, [2001:db8::7]:4711."""
SCHEMES = ("http", "https")


class Proxies:
    """The networks that our own proxies are in."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        self._parse = functools.lru_cache(maxsize=1024)(_parse)  # the same few proxies, request after request
        self._is_ours = functools.lru_cache(maxsize=1024)(self._look_up)

    def caller(self, scope: Scope) -> dict[str, str | None]:
        """Who asks, as `client` and `scheme` of the log line.

        `client` is the last address that is none of our proxies', going back from the connection along what each of
        our proxies says of the one before it; the furthest of ours where all are; None where a proxy of ours says what
        is no address, or the connection has none.
        """
        peer = scope.get("client")
        address = None if peer is None else self._parse(peer[0])
        scheme: str = scope.get("scheme", "http")
        if address is None or not self._is_ours(address):
            return {"client": None if address is None else str(address), "scheme": scheme}
        headers = Headers(scope=scope)
        said = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        for hop in _backwards(headers.getlist("x-forwarded-for")):
            address = self._parse(hop)
            if address is None or not self._is_ours(address):
                break
        return {
            "client": None if address is None else str(address),
            "scheme": said if said in SCHEMES else scheme,
        }

    def _look_up(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _backwards(lines: Iterable[str]) -> Iterator[str]:
    """The hops of all X-Forwarded-For lines, the nearest first: a proxy adds to the end, or a line of its own."""
    hops = [hop.strip() for line in lines for hop in line.split(",")]
    return (hop for hop in reversed(hops) if hop)


def _parse(text: str) -> Address | None:
    """The address that is meant, an IPv4 one where IPv6 carries it; None for anything else."""
    found = WITH_PORT.fullmatch(text)
    try:
        address = ip_address(text if found is None else found[1] or found[2])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
