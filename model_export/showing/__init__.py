"""Items for people to look at, as HTML that stands alone: what a report shows of the hardest pairs.

A modality's way stands in the file of its name here, as `show(item) -> str`. Reports of a run show items; a bundle's
own report only where its recipe says so (see recipe.Calibration.report_items).
"""

from __future__ import annotations

import html
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from app.core.modalities.base import Item

MOST = 6
"""Pairs shown of each kind."""
Lookup = Callable[[Mapping[str, str]], tuple[Item, Item]]
"""A row of Scores.hardest -> its two items."""


def show_item(modality: str, item: Item) -> str:
    """An item as HTML; words where nothing here can draw items of that modality, or this one."""
    if modality not in {module.name for module in pkgutil.iter_modules(__path__)}:
        return "<i>items of this kind are not drawn</i>"
    try:
        shown: str = importlib.import_module(f"{__name__}.{modality}").show(item)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        # whatever a decoder says of a file that the service itself could read: a report is no place to stop at
        return f"<i>not drawn: {html.escape(str(error) or type(error).__name__)}</i>"
    return shown


def show_hardest(modality: str, rows: Sequence[Mapping[str, str]], lookup: Lookup, threshold: float | None) -> str:
    """The hardest pairs of each kind, genuine ones lowest first, impostors highest first, as HTML.

    rows: Scores.hardest; threshold: of the default operating point, by which each is called false or judged right.
    """
    parts = []
    for kind, group in groupby(rows, key=lambda row: row["kind"]):
        genuine = kind == "genuine"
        title = "Matching pairs that score lowest" if genuine else f"Impostors of type {kind} that score highest"
        parts += [f"<h3>{html.escape(title)}</h3>", "<div class='pairs'>"]
        for row in list(group)[:MOST]:
            score = float(row["score"])
            verdict = ""
            if threshold is not None:
                wrong = (score < threshold) == genuine
                name = "false non-match" if genuine else "false match"
                verdict = f", {name if wrong else 'judged right'} at {threshold:.4f}"
            places = " and ".join(value for key, value in row.items() if key not in ("kind", "score"))
            a, b = (show_item(modality, item) for item in lookup(row))
            caption = f"{score:.4f}{verdict} (number {html.escape(places)})"
            parts.append(f"<figure><div class='pair'>{a}{b}</div><figcaption>{caption}</figcaption></figure>")
        parts.append("</div>")
    return "\n".join(parts)
