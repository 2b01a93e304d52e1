"""The table of a tuning, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from app.tuning.choice import MOST_MS, Batches, Figure, Layout

HEAD = ("bundle", "processes x threads", "batch", "items a second", "ms a batch", "")

Buckets = Mapping[str, Figure]
"""A bucket's name -> figure at the chosen batch."""


def table(
    measured: Mapping[Layout, Mapping[str, Batches]],
    chosen: Layout,
    batches: Mapping[str, int],
    buckets: Mapping[str, Buckets],
) -> str:
    """All figures, bundle by bundle; the last column says what was chosen and what single buckets take."""
    lines = [_line(HEAD), _line(["---", "---", "---:", "---:", "---:", "---"])]
    for key, batch in batches.items():
        for layout, bundles in measured.items():
            for size, figure in bundles[key].items():
                note = "chosen" if (layout, size) == (chosen, batch) else ""
                lines.append(_row(key, layout, size, figure, note))
        for name, figure in buckets.get(key, {}).items():
            beyond = f"; beyond {MOST_MS} ms, a start takes smaller batches" if figure.batch_ms > MOST_MS else ""
            note = f"bucket {name}: {figure.batch_ms / batch:.3g} ms an item{beyond}"
            lines.append(_row(key, chosen, batch, figure, note))
    return "\n".join(lines)


def _row(key: str, layout: Layout, size: int, figure: Figure, note: str) -> str:
    return _line([key, str(layout), str(size), _digits(figure.items_per_s), _digits(figure.batch_ms), note])


def _digits(value: float) -> str:
    """Three digits at least: what a figure's last ones would say, the next round does not."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
