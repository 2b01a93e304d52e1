"""Make what the example needs in a folder: DICOM files, a table of labelled pairs, and an encoder to import.

python examples/medical/make.py FOLDER
"""

from __future__ import annotations

import csv
import itertools
import sys
from pathlib import Path

from draw import dicom_file
from standin import standin_encoder

PATIENTS, VISITS = 40, 2
"""What is calibrated on: 40 patients are 780 pairs of different ones, enough to bound error rates of a few per cent."""
NEW = (PATIENTS, PATIENTS + 1)
"""Patients in no row of the table, so that comparing them shows what the calibration is worth."""


def make(folder: Path) -> None:
    """Write scans/patient-NN-visit-N.dcm, pairs.csv (every pair of those calibrated on) and encoder.onnx."""
    scans = folder / "scans"
    scans.mkdir(parents=True, exist_ok=True)
    for patient, visit in itertools.product(range(PATIENTS + len(NEW)), range(VISITS)):
        (folder / scan(patient, visit)).write_bytes(dicom_file(patient, visit))
    with (folder / "pairs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["a", "b", "label", "impostor", "unit_a", "unit_b"])
        known = itertools.product(range(PATIENTS), range(VISITS))
        for one, other in itertools.combinations(known, 2):
            same = one[0] == other[0]
            kind = "" if same else "random"
            table.writerow([scan(*one), scan(*other), int(same), kind, f"patient-{one[0]}", f"patient-{other[0]}"])
    (folder / "encoder.onnx").write_bytes(standin_encoder())


def scan(patient: int, visit: int) -> str:
    """The file of a visit, relative to the folder."""
    return f"scans/patient-{patient:02d}-visit-{visit}.dcm"


if __name__ == "__main__":
    make(Path(sys.argv[1]))
