"""Which URLs and hosts are taken: https of a listed name, and nothing that two parsers could read differently."""

from __future__ import annotations

import pytest

from app.core.errors import InvalidRequest
from app.fetch.urls import MOST_CHARACTERS, Place, read_hosts, read_url

HOSTS = read_hosts("files.example.org, other.example.org:8443")

TAKEN = {
    "https://files.example.org": Place("files.example.org", 443, "/"),
    "https://files.example.org/": Place("files.example.org", 443, "/"),
    "https://files.example.org:443/a": Place("files.example.org", 443, "/a"),
    "HTTPS://Files.Example.ORG/A%20b.png?x=1&y=/..?#part": Place("files.example.org", 443, "/A%20b.png?x=1&y=/..?"),
    "https://files.example.org?x=1": Place("files.example.org", 443, "/?x=1"),
    "https://other.example.org:8443/a@b:c;d,e=~_-.!$'()*+": Place("other.example.org", 8443, "/a@b:c;d,e=~_-.!$'()*+"),
}
REFUSED = [
    "",
    "files.example.org/a",
    "//files.example.org/a",
    "http://files.example.org/a",
    "ftp://files.example.org/a",
    "file:///etc/passwd",
    "data:image/png;base64,AAAA",
    "https:files.example.org",
    "https:///files.example.org",
    "https://user@files.example.org/",
    "https://user:password@files.example.org/",
    "https://files.example.org@elsewhere.example.org/",
    "https://files.example.org:443@elsewhere.example.org/",
    "https://files.example.org\\@elsewhere.example.org/",
    "https://elsewhere.example.org\\.files.example.org/",
    "https://files.example.org\t.elsewhere.example.org/",
    "https://files.example.org/a b",
    "https://files.example.org/a\r\nX-Injected: 1",
    "https://files.example.org/\n",
    " https://files.example.org/",
    "https://files.example.org/é",
    "https://fileſ.example.org/",
    "https://files。example.org/",
    "https://files.example.org./",
    "https://files.example.org:0443x/",
    "https://files.example.org:8443/",
    "https://other.example.org/",
    "https://sub.files.example.org/",
    "https://example.org/",
    "https://files.example.org.elsewhere.example.org/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[fe80::1%25lo]/",
    "https://localhost/",
    "https://files.example.org/" + "a" * MOST_CHARACTERS,
]


@pytest.mark.parametrize("url", TAKEN)
def test_url_of_a_listed_host_is_read(url: str) -> None:
    assert read_url(url, HOSTS) == TAKEN[url]


@pytest.mark.parametrize("url", REFUSED)
def test_any_other_is_refused_without_naming_the_hosts(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_url(url, HOSTS)
    assert "example.org" not in caught.value.detail


@pytest.mark.parametrize(
    "text",
    [
        *("", "files.example.org,", "https://files.example.org", "files.example.org/a", "files.example.org:", "a b.c"),
        *("127.0.0.1", "2130706433", "0x7f.0x1", "a.0177", "[::1]", "localhost", "*.example.org", "a..b", "a.b."),
    ],
)
def test_list_of_hosts_holds_names_only(text: str) -> None:
    with pytest.raises(ValueError, match="is no host name"):
        read_hosts(text)
