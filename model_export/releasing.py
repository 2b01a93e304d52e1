"""A bundle with new evidence becomes its next version: card, report, seal. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from app.core.bundle import seal, write_bundle
from app.core.evidence import Calibration, describe_points, disagreements
from model_export.calibration_loss import Loss, drop_broken
from model_export.card import write_card
from model_export.errors import CommandError
from model_export.figures import Sampled
from model_export.report import Report, Table, write_report
from model_export.subjects import LocalSubject


def release(
    models: Path,
    subject: LocalSubject,
    calibration: Calibration,
    *,
    protocol: str,
    tables: Sequence[Table],
    measured: Sampled | None,
    losses: Mapping[str, Loss],
    hardest: str = "",
    dropped: Sequence[str] = (),
) -> Path:
    """Write the next version, without a log-likelihood ratio that loses more than is promised.

    measured: None where no genuine pair was compared, so that no error trade-off can be drawn.
    Raises CommandError where the calibration and its verification disagree.
    """
    if broken := disagreements(calibration):
        raise CommandError(f"calibration and verification disagree, so nothing is published: {'; '.join(broken)}")
    calibration = drop_broken(calibration, losses)
    bundle = subject.encoder.bundle
    draft = bundle.manifest.draft(
        version=next_version(subject, models), status="released" if calibration.supported else "demonstration"
    )
    if draft.status == "demonstration":
        print(
            "nothing is claimed, since units are too few or no sample: a demonstration, whose verdicts are undetermined"
        )
    points, about = describe_points(calibration), f"Measured on {calibration.population}; {protocol}."
    key = f"{draft.name}@{draft.version}"
    told = Report(key, about, tables, points, measured, losses, hardest=hardest, stored=calibration.histogram)
    report = write_report(told)
    documents = {
        "MODEL_CARD.md": write_card(draft, calibration, protocol, tables, dropped),
        **{f"report/{name}": data for name, data in report.items()},
    }
    sealed = seal(
        draft,
        graph=bundle.graph,
        golden=bundle.golden,
        calibration=calibration,
        external_data=bundle.external_data,
        assets=bundle.assets,
    )
    return write_bundle(models, sealed, documents)


def next_version(subject: LocalSubject, models: Path) -> str:
    """The next patch version that does not exist yet."""
    bundle = subject.encoder.bundle
    major, minor, patch = bundle.version.split(".")
    number = int(patch) + 1
    while (models / bundle.name / f"{major}.{minor}.{number}").exists():
        number += 1
    return f"{major}.{minor}.{number}"
