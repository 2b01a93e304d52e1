"""MODEL_CARD.md: what an encoder is, what was measured, and what it is not for, in words and tables."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.bundle import Draft, Training
from app.core.evidence import Calibration, OperatingPoint, Rate, describe_points, fmr_at

Row = Sequence[str]
Table = tuple[str, Sequence[Row]]
"""A heading, and rows of text of which the first is the header."""
POINT_HEADER: Row = ("impostor", "point", "threshold", "FMR", "FNMR", "verified FMR", "verified FNMR")
DROPPED_SHOWN = 100


def write_card(
    draft: Draft,
    calibration: Calibration | None,
    protocol: str,
    figures: Sequence[Table],
    dropped: Sequence[str] = (),
) -> bytes:
    """Markdown as UTF-8. `figures` are headed tables, first row = header; `protocol` says who was measured, and how.

    `dropped` are items that were left out since another part holds a copy, a line each.
    """
    relation, training = draft.relation, draft.training
    lines = [
        f"# {draft.name} {draft.version}",
        "",
        f"Two items match when they are **{relation.match_means}**. A match does not mean {relation.not_}.",
        "",
        f"**For:** {draft.intended_use}",
        "",
        "**Not for:** deciding alone about people, money or access; proving who wrote something; inputs unlike those "
        "measured below. No verdict resists spoofing: whoever can copy an item can make it match.",
        "",
        "## Origin",
        "",
        f"- Status: {draft.status}",
        f"- Weights: {draft.licence.weights}",
        f"- Data: {draft.licence.data}",
        *([] if training.data == draft.licence.data else [f"- Origin: {training.data}"]),
        *_origin(training),
        "",
    ]
    if calibration is None:
        lines += [
            "No error rate was measured: a verdict without a threshold is `undetermined`, reason `uncalibrated`.",
            "",
        ]
        return "\n".join(lines).encode()
    lines += [
        "## Evidence",
        "",
        f"- Population: {calibration.population}",
        f"- Calibrated on {calibration.counts.units} of the unit '{calibration.unit}', {calibration.date}, "
        f"valid for {calibration.valid_for_days} days; {protocol}",
        *(
            f"- Impostor type `{one.type}`: {one.description} ({one.unit_pairs} unit pairs)"
            + (f"; measured on another population, reported and never chosen: {one.population}" if one.external else "")
            for one in calibration.impostors
        ),
        "",
        "Operating points: a threshold chosen on the population above, and the rates there. "
        f"{_verification(calibration)} A rate is `value [low, high]`, 95 % bounds from a bootstrap by unit.",
        "",
        *markdown_table(point_rows(calibration)),
        "",
    ]
    for heading, table in figures:
        lines += [f"## {heading}", "", *markdown_table(table), ""]
    if dropped:
        lines += ["## Copies left out", "", *(f"- {line}" for line in dropped[:DROPPED_SHOWN])]
        lines += [f"- and {len(dropped) - DROPPED_SHOWN} more"] * (len(dropped) > DROPPED_SHOWN) + [""]
    return "\n".join(lines).encode()


def _verification(calibration: Calibration) -> str:
    """What the verified rates are, by the method."""
    methods = {point.verified.method for point in calibration.operating_points if point.verified is not None}
    if methods == {"cross_fitted"}:
        return (
            "Verified rates are cross-fitted: each comparison is judged at a threshold that the same rule chose "
            "without its units, so that they describe the procedure, on slightly fewer units than chose the threshold "
            "that ships."
        )
    return "Verified rates are of other units, at these very thresholds." if methods else "Nothing is verified."


def _origin(training: Training) -> list[str]:
    """What is known of the training; imported weights may not say."""
    known = [training.recipe and f"recipe {training.recipe}", training.seed is not None and f"seed {training.seed}"]
    if training.duration_seconds is not None:
        seconds = round(training.duration_seconds)
        known.append(f"{seconds} seconds" if seconds < 120 else f"{round(seconds / 60)} minutes")
    libraries = ", ".join(f"{name} {number}" for name, number in sorted(training.library_versions.items()))
    said = ", ".join(one for one in known if one)
    return [*([f"- Trained with: {said}"] if said else []), *([f"- Made with: {libraries}"] if libraries else [])]


def point_rows(calibration: Calibration) -> list[Row]:
    """The operating points as a table: header first."""
    defaults = {(point["impostor"], point["name"]) for point in describe_points(calibration) if point["default"]}
    return [
        POINT_HEADER,
        *(
            point_row(point, " (default)" if (point.impostor, point.name) in defaults else "")
            for point in calibration.operating_points
        ),
    ]


def point_row(point: OperatingPoint, mark: str = "") -> Row:
    """One operating point; `mark` stands behind its name."""
    verified = point.verified
    return (
        point.impostor,
        point.name + mark,
        f"{point.threshold:.4f}",
        show(point.fmr),
        show(point.fnmr),
        show(verified.fmr if verified else None),
        show(verified.fnmr if verified else None),
    )


def type_rows(calibration: Calibration, threshold: float) -> list[Row]:
    """How often each impostor type matches at a threshold: header first."""
    rows: list[Row] = [("impostor", "is", "FMR")]
    for one in calibration.impostors:
        curve = calibration.fmr_curve(one.type)
        assert curve is not None  # Calibration holds one for each impostor type
        words = f"{one.description}, of another population ({one.population})" if one.external else one.description
        rows.append((one.type, words, show(fmr_at(curve, threshold))))
    return rows


def show(rate: Rate | None) -> str:
    """A rate as `value [low, high]`."""
    return "not measured" if rate is None else f"{rate.value:.3g} [{rate.low:.3g}, {rate.high:.3g}]"


def markdown_table(rows: Sequence[Row]) -> list[str]:
    """Lines of a Markdown table; the first row is the header."""
    header, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return [header, "|" + " --- |" * len(rows[0]), *body]
