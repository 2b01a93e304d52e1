"""Keys: what the file may say, how secrets are held against it, and that rates hold."""

from __future__ import annotations

import re
import tomllib

import pytest

from app.access import Access, Key, make_entry, parse_keys
from app.access.keys import MOST_BYTES, PREFIX, digest
from app.core.errors import Forbidden, KeysRefused, RateLimited, Unauthorized


def entry(**fields: object) -> str:
    """One table; strings, numbers and lists of strings are written as their Python forms, which TOML shares."""
    given = {"id": "a", "sha256": "0" * 64, "scopes": ["compare"]} | fields
    return "\n".join(["[[key]]", *(f"{name} = {value!r}" for name, value in given.items() if value is not None), ""])


def key(secret: str, **fields: object) -> Key:
    [made] = parse_keys(entry(sha256=digest(secret).hex(), **fields))
    return made


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_new_key_is_256_random_bits_and_its_entry_holds_no_secret() -> None:
    made = {make_entry("checkout", ["compare"])[0] for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(rf"{PREFIX}[A-Za-z0-9_-]{{43}}", secret) for secret in made)
    secret, table = make_entry("checkout", ["compare"], models=["glyphs"], rate_per_s=2.5, burst=9)
    assert secret not in table
    assert secret.removeprefix(PREFIX) not in table
    [parsed] = parse_keys(table)
    assert (parsed.id, parsed.models) == ("checkout", frozenset({"glyphs"}))
    assert (parsed.rate_per_s, parsed.burst) == (2.5, 9)
    assert parsed.sha256 == digest(secret).hex() == tomllib.loads(table)["key"][0]["sha256"]


def test_entry_without_options_allows_every_model_at_any_rate_and_sees_scores() -> None:
    [parsed] = parse_keys(entry())
    assert (parsed.models, parsed.rate_per_s, parsed.burst, parsed.sees_scores) == (None, None, None, True)
    assert parsed.may_use("any", "1.0.0")


def test_models_are_names_or_one_version_of_them() -> None:
    [parsed] = parse_keys(entry(models=["glyphs", "faces@1.2.0"]))
    assert parsed.may_use("glyphs", "9.9.9")
    assert parsed.may_use("faces", "1.2.0")
    assert not parsed.may_use("faces", "1.2.1")
    assert not parsed.may_use("glyphs-fp16", "1.0.0")
    assert not parsed.may_use("", "")


SECRET = PREFIX + "x" * 43
REFUSED = {
    "no TOML": ("[[key]", "no valid TOML"),
    "no key": ("", "key: this field is missing"),
    "empty list": ("key = []", "key: "),
    "another table": (entry() + "[keys]\n", "keys: this field is not known"),
    "unknown field": (entry(scope="compare"), "key 1, scope: this field is not known"),
    "missing field": (entry(scopes=None), "key 1, scopes: this field is missing"),
    "no scope": (entry(scopes=[]), "key 1, scopes"),
    "unknown scope": (entry(scopes=["all"]), "key 1, scopes"),
    "no model": (entry(models=[]), "key 1, models"),
    "secret in place of its digest": (entry(sha256=SECRET), "key 1, sha256"),
    "upper case": (entry(sha256="A" * 64), "key 1, sha256"),
    "bad id": (entry(id="a b"), "key 1, id"),
    "long id": (entry(id="a" * 65), "key 1, id"),
    "rate of 0": (entry(rate_per_s=0), "key 1, rate_per_s"),
    "rate that is no number": (entry(rate_per_s="5"), "key 1, rate_per_s"),
    "infinite rate": (entry().strip() + "\nrate_per_s = inf", "key 1, rate_per_s"),
    "burst of 0": (entry(rate_per_s=1, burst=0), "key 1, burst"),
    "burst alone": (entry(burst=3), "burst without rate_per_s"),
    "unknown level": (entry(disclosure="none"), "key 1, disclosure"),
    "embeddings without scores": (entry(scopes=["embed"], disclosure="verdict"), "key 1: a key that sees verdicts"),
    "equal ids": (entry() + entry(sha256="1" * 64), "key 2: another key has the same id"),
    "equal secrets": (entry() + entry(id="b"), "key 2: another key has the same sha256"),
    "too large": (entry() + "#" * MOST_BYTES, "larger than"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_file_is_refused_in_one_line_that_repeats_no_value(case: str) -> None:
    text, said = REFUSED[case]
    with pytest.raises(KeysRefused) as caught:
        parse_keys(text)
    assert said in caught.value.detail
    assert "\n" not in caught.value.detail
    assert SECRET not in caught.value.detail


def test_secret_finds_its_key_and_no_other_text_does() -> None:
    access = Access([key("one", id="a"), key("two", id="b")], lambda: 1)
    assert access.admit("one").key.id == "a"
    assert access.admit("two").key.id == "b"
    for wrong in (None, "", "three", "one ", "ONE", digest("one").hex(), "one\udce9"):
        with pytest.raises(Unauthorized):
            access.admit(wrong)


def test_secret_is_held_against_every_key_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare_digest(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("app.access.callers.hmac.compare_digest", compare_digest)
    access = Access([key(name, id=name) for name in "abc"], lambda: 1)
    for given in ("a", "c", "none"):
        compared.clear()
        try:
            access.admit(given)
        except Unauthorized:
            assert given == "none"
        assert compared == [(digest(name), digest(given)) for name in "abc"]


def test_scope_that_a_key_has_not_is_forbidden() -> None:
    caller = Access([key("one", scopes=["compare", "admin"])], lambda: 1).admit("one")
    caller.need("compare")
    caller.need("admin")
    with pytest.raises(Forbidden, match="embed"):
        caller.need("embed")


def spend(access: Access, secret: str) -> int:
    """How many requests are let in now."""
    count = 0
    while count < 1000:
        try:
            access.enter(access.admit(secret))
        except RateLimited:
            return count
        count += 1
    return count


def test_rate_holds_over_time_after_its_burst() -> None:
    clock = Clock()
    access = Access([key("one", rate_per_s=10, burst=30)], lambda: 1, clock)
    assert spend(access, "one") == 30
    total = 0
    for _ in range(50):
        clock.now += 0.1
        total += spend(access, "one")
    assert total == pytest.approx(50, abs=1)
    clock.now += 1000
    assert spend(access, "one") == 30


def test_burst_left_out_is_that_of_one_second_and_never_less_than_one() -> None:
    assert spend(Access([key("one", rate_per_s=7)], lambda: 1, Clock()), "one") == 7
    assert spend(Access([key("one", rate_per_s=0.5)], lambda: 1, Clock()), "one") == 1


def test_refusal_says_when_to_come_back() -> None:
    clock = Clock()
    access = Access([key("one", rate_per_s=0.5)], lambda: 1, clock)
    access.enter(access.admit("one"))
    with pytest.raises(RateLimited) as caught:
        access.enter(access.admit("one"))
    assert caught.value.retry_after_s == pytest.approx(2.0)
    clock.now += 2.01
    access.enter(access.admit("one"))


def test_large_batch_is_let_in_and_paid_for_by_waiting() -> None:
    clock = Clock()
    access = Access([key("one", rate_per_s=10, burst=10)], lambda: 1, clock)
    caller = access.admit("one")
    access.enter(caller)
    caller.pay(99)
    with pytest.raises(RateLimited) as caught:
        access.enter(caller)
    assert caught.value.retry_after_s == pytest.approx(9.1)
    clock.now += 9.2
    access.enter(caller)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_together_grant_the_rate_and_the_burst(workers: int) -> None:
    clock = Clock()
    fleet = [Access([key("one", rate_per_s=40, burst=40)], lambda: workers, clock) for _ in range(workers)]
    assert sum(spend(access, "one") for access in fleet) == 40
    clock.now += 0.5
    assert sum(spend(access, "one") for access in fleet) == 20


def test_share_grows_when_a_worker_is_gone_and_no_worker_counts_as_one() -> None:
    clock = Clock()
    ready = [2]
    access = Access([key("one", rate_per_s=40, burst=40)], lambda: ready[0], clock)
    assert spend(access, "one") == 20
    ready[0] = 0
    clock.now += 10
    assert spend(access, "one") == 40


def test_keys_without_a_rate_and_other_callers_are_not_limited_by_one_that_is() -> None:
    access = Access([key("one", id="a", rate_per_s=1), key("two", id="b")], lambda: 1, Clock())
    assert spend(access, "one") == 1
    assert spend(access, "two") == 1000
    access.admit("two").pay(1000)
    access.enter(access.admit("two"))


def test_replaced_keys_are_in_force_at_once_and_what_was_used_stays_used() -> None:
    clock = Clock()
    access = Access([key("old", id="a"), key("one", id="b", rate_per_s=10)], lambda: 1, clock)
    assert spend(access, "one") == 10
    access.replace([key("one", id="b", rate_per_s=10), key("new", id="c", rate_per_s=5)])
    with pytest.raises(Unauthorized):
        access.admit("old")
    assert spend(access, "one") == 0
    assert spend(access, "new") == 5
