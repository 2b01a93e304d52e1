"""What a folder or a table of one's own holds, before it is cut: items, and what each is called, by name.

Everything that can be wrong with a file or a row is found here, once, and told with its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.core.modalities.base import Item
from model_export.datasets import LabelledPairs
from model_export.datasets.item_files import Items, digest_item
from model_export.errors import CommandError

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """An item that was found: what a message calls it, how it is read, and what is said of it; None: not said.

    identity is empty where nobody says which items match.
    """

    name: str
    load: Callable[[], Item]
    identity: str = ""
    unit: str | None = None
    group: str | None = None
    source: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Listing:
    """Items with their names in messages, and by name their identity, unit, group, source and official part, (items,)
    each; None where the data says nothing of it. `origin` is what the whole is called.
    """

    origin: str
    items: Items
    names: Names
    identity: Names
    unit: Names | None
    group: Names | None
    source: Names | None
    split: Names | None
    pairs: LabelledPairs | None = None


def list_items(found: Iterable[Found], origin: str, *, labelled: bool = True) -> Listing:
    """Every item, each read once. Equal content of one identity counts once, which is printed.

    Raises CommandError for what cannot be read or is empty text, and, where identities are `labelled`, for data that
    nothing can be learnt from.
    """
    kept: list[Found] = []
    seen: set[tuple[bytes, str, str | None, str | None]] = set()
    double = 0
    for one in found:
        try:
            item = one.load()
            content = (digest_item(item), one.identity, one.unit, one.split)
        except (CommandError, ValueError) as error:  # the last: NaN in an item of JSON
            raise CommandError(f"{origin}: {one.name}: {error}") from error
        if "text" in item and not str(item["text"]).strip():
            raise CommandError(f"{origin}: {one.name}: the text is empty")
        if content in seen:
            double += 1
        else:
            seen.add(content)
            kept.append(one)
    if not kept:
        raise CommandError(f"{origin}: holds no item")
    if double:
        same = "equal content and identity" if labelled else "equal content"
        print(f"{double} items are there already, of {same}, and do not count again")
    if labelled:
        check_learnable([one.identity for one in kept], origin)
    return Listing(
        origin,
        Items([one.load for one in kept]),
        tuple(one.name for one in kept),
        tuple(one.identity for one in kept),
        unit=_all_or_none(kept, "unit"),
        group=_all_or_none(kept, "group"),
        source=_all_or_none(kept, "source"),
        split=_all_or_none(kept, "split"),
    )


def check_learnable(identity: Iterable[str], origin: str) -> None:
    """Raise CommandError unless there are two identities at least, and one of them has two items."""
    names = list(identity)
    distinct = set(names)
    if len(distinct) == 1:
        raise CommandError(f"{origin}: all {len(names)} items are of one identity, {names[0]!r}; nothing tells apart")
    if len(distinct) == len(names):
        raise CommandError(f"{origin}: each of the {len(names)} identities has one item; matching takes two of one")


def _all_or_none(found: list[Found], role: str) -> Names | None:
    values = [getattr(one, role) for one in found]
    return None if None in values else tuple(values)
