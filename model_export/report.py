"""report.html, which stands alone: tables, drawings and, where they may be shown, the hardest pairs themselves."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence

from model_export.calibration_loss import Loss
from model_export.card import Table
from model_export.figures import Sampled
from model_export.pictures import Points, draw_det, draw_histogram, draw_reliability, draw_robustness
from model_export.robustness.measuring import Worn

__all__ = ["Table", "write_report"]

WORDS = {
    "det.png": "Errors of both kinds as the threshold moves. Circles are the bundle's operating points where they "
    "lie on these comparisons, the square is its default; shading is the bounds of the false match rate.",
    "histogram.png": "Scores of matching pairs and of impostors, every unit (pair) weighing the same.",
    "reliability.png": "Are the posteriors true? On the diagonal they are; above it the ratio is too careful, below it "
    "too sure. Bars are 95 % bounds, numbers the pairs of the bin.",
    "robustness.png": "Equal error rate as one side of every pair is worn, mildest first; dotted the share of items "
    "that the service refuses.",
}
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;display:block;overflow-x:auto}"
    "td,th{border:1px solid #bbb;padding:.3rem .6rem;text-align:left}img{max-width:100%}"
    ".pairs{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;border:1px solid #ddd;padding:.5rem;max-width:32rem}"
    ".pair{display:flex;gap:.5rem;align-items:center}figcaption{font-size:.8rem}"
    "svg{background:#f6f6f6}polyline{fill:none;stroke:#356;stroke-width:1}"
)


def write_report(
    title: str,
    tables: Sequence[Table],
    points: Points,
    measured: Sampled,
    *,
    losses: Mapping[str, Loss] | None = None,
    curves: Mapping[str, Sequence[Worn]] | None = None,
    hardest: str = "",
) -> dict[str, bytes]:
    """The files of a report: pictures as PNG, and report.html that holds them and the tables. File name -> bytes.

    points: the operating points; losses: of the ratios, by impostor type; curves: robustness by subject; hardest: HTML
    of the hardest pairs (see showing), empty where items are not to be shown.
    """
    pictures = {"det.png": draw_det(measured, points), "histogram.png": draw_histogram(measured.scores, points)}
    if losses and any(one.reliability is not None for one in losses.values()):
        pictures["reliability.png"] = draw_reliability(losses)
    if curves and any(curves.values()):
        pictures["robustness.png"] = draw_robustness(curves)
    return {"report.html": _write_html(title, tables, pictures, hardest), **pictures}


def _write_html(title: str, tables: Sequence[Table], pictures: Mapping[str, bytes], hardest: str) -> bytes:
    """One page with every picture and table (first row = header) inside it."""
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>{html.escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f"<h1>{html.escape(title)}</h1>",
        "<p>A rate is <code>value [low, high]</code>: bounds of 95 % from a bootstrap by unit. docs/evaluating.md says "
        "what each figure means.</p>",
    ]
    for heading, table in tables:
        rows = [
            "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"
            for row, tag in zip(table, ["th"] + ["td"] * (len(table) - 1), strict=True)
        ]
        parts += [f"<h2>{html.escape(heading)}</h2>", "<table>", *rows, "</table>"]
    for name, picture in pictures.items():
        encoded = base64.b64encode(picture).decode()
        parts.append(f"<p><img alt='{html.escape(name)}' src='data:image/png;base64,{encoded}'></p>")
        parts.append(f"<p>{html.escape(WORDS[name])}</p>")
    if hardest:
        parts += ["<h2>Hardest pairs</h2>", hardest]
    return "\n".join([*parts, "</html>", ""]).encode()
