"""Which URLs are taken: https, of a host on the operator's list. Pure: nothing is resolved here.

A URL is read once, by one pattern that is narrower than the standard, and its parts go to the connection as they
are: no second parser can see another host in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urljoin

from app.core.errors import InvalidRequest

HTTPS_PORT = 443
MOST_CHARACTERS = 8192
HOST = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?"
URL = re.compile(
    rf"https://(?P<host>{HOST})(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?P<path>/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?P<query>\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?(?:#.*)?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
ENTRY = re.compile(rf"(?P<host>{HOST})(?::(?P<port>[0-9]{{1,5}}))?", re.ASCII)
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where content lies: a host's name in lower case, its port, and what to ask it for."""

    host: str
    port: int
    target: str

    def joined(self, location: str) -> str:
        """The URL that a redirect from here means."""
        return urljoin(f"https://{self.host}:{self.port}{self.target}", location)


def read_url(url: str, hosts: frozenset[tuple[str, int]]) -> Place:
    """Where `url` leads. Raises InvalidRequest for what is no https URL of one of `hosts`."""
    match = URL.fullmatch(url) if len(url) <= MOST_CHARACTERS else None
    if match is None:
        raise InvalidRequest(
            f"the url must be https://host/path, percent-encoded, without user or password, and of at most "
            f"{MOST_CHARACTERS} characters"
        )
    host, port = match["host"].lower(), int(match["port"] or HTTPS_PORT)
    if (host, port) not in hosts:
        raise InvalidRequest("the host of this url is not one that this service fetches from; send the content itself")
    return Place(host, port, (match["path"] or "/") + (match["query"] or ""))


def read_hosts(text: str) -> frozenset[tuple[str, int]]:
    """The hosts of a list as the setting has it: names with or without a port, separated by commas.

    Raises ValueError for one that is no name: a number in any spelling is an address, and those are never fetched from.
    """
    return frozenset(_read_host(entry.strip()) for entry in text.split(","))


def _read_host(entry: str) -> tuple[str, int]:
    match = ENTRY.fullmatch(entry)
    if match is None or not _is_name(match["host"].lower()):
        raise ValueError(f"{entry!r} is no host name, or a name and a port such as images.example.org:8443")
    return match["host"].lower(), int(match["port"] or HTTPS_PORT)


def _is_name(host: str) -> bool:
    """Whether it has two labels at least, and the last is no number, with which it would be read as an address."""
    *others, last = host.split(".")
    return bool(others) and all(others) and NUMBER.fullmatch(last) is None
