"""Drawings of the evidence: DET curve with operating points, score histogram, and one report.html that stands alone."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from io import BytesIO

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from app.core.evidence import Calibration, GenuineScores, PairScores, fnmr_at
from app.core.evidence.binning import histogram
from model_export.comparing import Scores

Table = tuple[str, Sequence[Sequence[str]]]


def write_report(
    title: str, tables: Sequence[Table], calibration: Calibration | None, test: Scores
) -> dict[str, bytes]:
    """The files of a report: pictures as PNG, and report.html that holds them and the tables. File name -> bytes."""
    pictures = {"histogram.png": draw_histogram(calibration, test)}
    if calibration is not None:
        pictures["det.png"] = draw_det(calibration)
    return {"report.html": _write_html(title, tables, pictures), **pictures}


def draw_det(calibration: Calibration) -> bytes:
    """Detection error trade-off (Martin et al. 1997) with operating points, FMR bounds shaded, as PNG bytes."""
    figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
    fnmr_curve = calibration.fnmr_curve()
    for curve in calibration.impostor_curves:
        if fnmr_curve is None or calibration.impostor(curve.impostor).external:
            continue  # genuine scores of one population say nothing beside impostors of another
        fnmr = [fnmr_at(fnmr_curve, threshold).value for threshold in curve.thresholds]
        (line,) = axes.plot(curve.value, fnmr, label=f"{curve.impostor} impostors")
        axes.fill_betweenx(fnmr, curve.low, curve.high, color=line.get_color(), alpha=0.15)
        for point in calibration.operating_points:
            if point.impostor == curve.impostor and point.fnmr is not None:
                at = (point.fmr.value, point.fnmr.value)
                axes.plot(*at, "o", color=line.get_color())
                axes.annotate(point.name, at, fontsize=7, xytext=(4, 4), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlim=(1e-5, 1), ylim=(1e-4, 1), title="Calibration")
    axes.set(xlabel="false match rate (FMR)", ylabel="false non-match rate (FNMR)")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return _png(figure)


def draw_histogram(calibration: Calibration | None, test: Scores) -> bytes:
    """Shares of genuine and impostor scores of what was measured, with the default threshold, as PNG bytes."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    shown: dict[str, GenuineScores | PairScores] = {"genuine": test.genuine, **test.impostors}
    # a little wider than the scores, so that none falls outside, and neither end is the other where all are equal
    low, high = (float(end([end(one.score) for one in shown.values()])) for end in (np.min, np.max))
    edges = np.linspace(low - 1e-3, high + 1e-3, 60)
    for name, scores in shown.items():
        axes.stairs(histogram(scores, edges.tolist()), edges, label=name, fill=True, alpha=0.45)
    if calibration is not None and calibration.supported:
        impostor = calibration.default_impostor
        name = calibration.defaults[impostor]
        for point in calibration.operating_points:
            if (point.name, point.impostor) == (name, impostor):
                axes.axvline(point.threshold, color="black", linestyle="--", label=f"default: {name}, {impostor}")
    axes.set(xlabel="similarity", ylabel="share of comparisons", title="Scores")
    axes.legend()
    return _png(figure)


def _png(figure: Figure) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    return file.getvalue()


def _write_html(title: str, tables: Sequence[Table], pictures: Mapping[str, bytes]) -> bytes:
    """One page with every table (first row = header) and picture inside it."""
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>{html.escape(title)}</title>",
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}",
        "table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.3rem .6rem;text-align:left}",
        "img{max-width:100%}</style>",
        f"<h1>{html.escape(title)}</h1>",
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
    return "\n".join([*parts, "</html>", ""]).encode()
