"""report.html, which stands alone: tables, drawings and, where they may be shown, the hardest pairs themselves."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.core.evidence.calibration import ScoreHistogram
from model_export.calibration_loss import Loss
from model_export.card import Table
from model_export.figures import Sampled
from model_export.pictures import Points, draw_det, draw_histogram, draw_reliability, draw_robustness, draw_stored
from model_export.robustness.measuring import Worn

__all__ = ["Report", "Table", "write_report"]

WORDS = {
    "det.png": "Errors of both kinds as the threshold moves; nearer the lower left corner is better. Circles are the "
    "bundle's operating points where they lie on these comparisons, the square is its default. Shading is the bounds "
    "of the false match rate; dotted is what lies beyond the sample.",
    "histogram.png": "Scores of matching pairs and of impostors, every unit (pair) weighing the same.",
    "reliability.png": "Are the posteriors true? On the diagonal they are; above it the ratio is too careful, below it "
    "too sure. Bars are 95 % bounds, numbers the pairs of the bin.",
    "robustness.png": "Equal error rate as one side of every pair is worn, mildest first; dotted the share of items "
    "that the service refuses. Shading is bounds, none where too few units are measured for any.",
}
WIDE = {"robustness.png"}
"""Pictures of several axes."""
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;display:block;overflow-x:auto;font-size:.9rem}"
    "td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:left;vertical-align:top}th{background:#f4f4f4}"
    "img{max-width:100%}figure{margin:0}figcaption{font-size:.85rem}"
    ".pictures{display:flex;flex-wrap:wrap;gap:1.5rem;margin-top:2rem}.pictures figure{max-width:36rem}"
    ".pictures figure.wide{max-width:62rem}"
    ".pairs{display:flex;flex-wrap:wrap;gap:1rem}.pairs figure{border:1px solid #ddd;padding:.5rem;max-width:33rem}"
    ".pair{display:flex;gap:.5rem;align-items:center}"
    "svg{background:#f6f6f6}polyline{fill:none;stroke:#356;stroke-width:1}"
)


@dataclass(frozen=True)
class Report:
    """What a report tells: of what, measured how, its tables, operating points, losses of the ratios by impostor type,
    robustness by subject, and HTML of the hardest pairs (see showing), empty where items are not to be shown.

    measured: None where no genuine pair was compared; `stored`, the histogram of the evidence, is drawn then.
    """

    title: str
    about: str
    tables: Sequence[Table]
    points: Points
    measured: Sampled | None
    losses: Mapping[str, Loss] = field(default_factory=dict)
    curves: Mapping[str, Sequence[Worn]] = field(default_factory=dict)
    hardest: str = ""
    stored: ScoreHistogram | None = None


def write_report(report: Report) -> dict[str, bytes]:
    """The files of a report: pictures as PNG, and report.html that holds them and the tables. File name -> bytes."""
    pictures = {}
    if report.measured is not None:
        pictures["det.png"] = draw_det(report.measured, report.points)
        pictures["histogram.png"] = draw_histogram(report.measured.scores, report.points)
    elif report.stored is not None:
        pictures["histogram.png"] = draw_stored(report.stored, report.points)
    if any(one.reliability is not None for one in report.losses.values()):
        pictures["reliability.png"] = draw_reliability(report.losses)
    if any(report.curves.values()):
        pictures["robustness.png"] = draw_robustness(report.curves)
    return {"report.html": "\n".join(_lines(report, pictures)).encode(), **pictures}


def _lines(report: Report, pictures: Mapping[str, bytes]) -> Iterator[str]:
    """One page: the first table, every picture, the other tables, the hardest pairs."""
    title = html.escape(report.title)
    yield "<!doctype html><html lang='en'><meta charset='utf-8'>"
    yield "<meta name='viewport' content='width=device-width'>"
    yield f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1><p>{html.escape(report.about)}</p>"
    yield (
        "<p>A rate is <code>value [low, high]</code>: bounds of 95 % from a bootstrap by unit. docs/evaluating.md says "
        "what each figure means.</p>"
    )
    first, *others = report.tables
    yield from _table(first)
    yield "<div class='pictures'>"
    for name, picture in pictures.items():
        source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        words = html.escape(WORDS[name])
        kind = " class='wide'" if name in WIDE else ""
        yield f"<figure{kind}><img alt='{name}' src='{source}'><figcaption>{words}</figcaption></figure>"
    yield "</div>"
    for table in others:
        yield from _table(table)
    if report.hardest:
        yield f"<h2>Hardest pairs</h2>{report.hardest}"
    yield "</html>\n"


def _table(table: Table) -> Iterator[str]:
    """The heading, and the rows, of which the first is the header."""
    heading, rows = table
    yield f"<h2>{html.escape(heading)}</h2><table>"
    for row, tag in zip(rows, ["th"] + ["td"] * (len(rows) - 1), strict=True):
        yield "<tr>" + "".join(f"<{tag}>{_cell(cell)}</{tag}>" for cell in row) + "</tr>"
    yield "</table>"


def _cell(text: str) -> str:
    """Escaped; bounds stay in one line."""
    value, bracket, bounds = html.escape(text).partition(" [")
    return value + bracket + bounds.replace(" ", "&nbsp;")
