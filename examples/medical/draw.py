"""Slices through invented chests, as CT stores them. No scanner made them and no person is in them: numpy draws all.

A patient is a number; it decides the shape of body, lungs and heart, and where ribs and vessels lie. A visit is
another: it decides how the patient lay, how deeply they breathed, and the noise.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

ROWS, COLUMNS = 112, 144
AIR, FAT, MUSCLE, LUNG, BLOOD, BONE = -1000, -100, 50, -850, 150, 500
"""Hounsfield units."""

Plane = npt.NDArray[np.float64]
Point = tuple[float, float]


def draw_slice(patient: int, visit: int) -> Plane:
    """Hounsfield units, float64 (ROWS, COLUMNS)."""
    body, pose = np.random.default_rng([19, patient]), np.random.default_rng([19, patient, visit])
    grid = _grid(pose)
    width, height = body.uniform(0.78, 0.95), body.uniform(0.55, 0.70)
    picture = np.full((ROWS, COLUMNS), float(AIR))
    picture[_within(grid, (0, 0), (width, height))] = FAT
    picture[_within(grid, (0, 0), (width - 0.08, height - 0.07))] = MUSCLE
    for side in (-1, 1):
        middle, breath = side * body.uniform(0.36, 0.46), pose.uniform(0.97, 1.03)
        size = 0.30 * breath, body.uniform(0.36, 0.48) * breath
        lung = _within(grid, (middle, body.uniform(-0.06, 0.06)), size)
        picture[lung] = LUNG
        for _ in range(14):
            place = middle + body.uniform(-0.22, 0.22), body.uniform(-0.3, 0.3)
            picture[lung & _within(grid, place, (body.uniform(0.012, 0.045), body.uniform(0.012, 0.045)))] = MUSCLE
    place, size = (body.uniform(0.05, 0.16), body.uniform(-0.16, -0.04)), (body.uniform(0.18, 0.27), 0.18)
    picture[_within(grid, place, size)] = BLOOD
    picture[_within(grid, (0, height - 0.20), (0.09, body.uniform(0.08, 0.12)))] = BONE
    for angle in np.linspace(0.3, 2 * np.pi - 0.3, body.integers(11, 16)) + body.uniform(-0.1, 0.1):
        place = (width - 0.11) * np.sin(angle), (height - 0.10) * np.cos(angle)
        picture[_within(grid, place, (0.05, 0.025))] = BONE
    return picture + pose.normal(0, 25, picture.shape)


def dicom_file(patient: int, visit: int) -> bytes:
    """The slice as a CT file. Odd visits were made by a scanner that stores signed numbers, in another byte layout; the
    Hounsfield units are the same, which is what rescaling and a declared window are for.
    """
    values, signed = np.rint(draw_slice(patient, visit)), visit % 2 == 1
    intercept = 0 if signed else -1024
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if signed else ExplicitVRLittleEndian
    found.SOPClassUID, found.SOPInstanceUID = CTImageStorage, f"2.25.{1000 * patient + visit + 1}"
    found.Modality = "CT"
    found.PatientName, found.PatientID = f"Invented^{patient}", f"invented-{patient}"
    found.Rows, found.Columns = ROWS, COLUMNS
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated, found.BitsStored, found.HighBit = 16, 16 if signed else 12, 15 if signed else 11
    found.PixelRepresentation = int(signed)
    found.RescaleSlope, found.RescaleIntercept, found.RescaleType = "1", str(intercept), "HU"
    found.WindowCenter, found.WindowWidth = ["40", "-600"], ["400", "1500"]
    stored = np.clip(values - intercept, -32768 if signed else 0, 32767 if signed else 4095)
    found.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
    found["PixelData"].VR = "OW"
    buffer = BytesIO()
    dcmwrite(buffer, found, enforce_file_format=True)
    return buffer.getvalue()


def _grid(pose: np.random.Generator) -> tuple[Plane, Plane]:
    """Coordinates of the pixels in the body's own frame, about -1 to 1, turned and moved a little by how it lay."""
    down, across = np.indices((ROWS, COLUMNS), dtype=np.float64)
    x, y = (across - COLUMNS / 2) / (COLUMNS / 2), (down - ROWS / 2) / (COLUMNS / 2)
    x, y = x + pose.normal(0, 0.012), y + pose.normal(0, 0.012)
    turn = pose.normal(0, 0.02)
    return x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)


def _within(grid: tuple[Plane, Plane], place: Point, size: Point) -> npt.NDArray[np.bool_]:
    """The pixels inside an ellipse about a place, half as wide and high as two numbers say."""
    x, y = ((axis - middle) / half for axis, middle, half in zip(grid, place, size, strict=True))
    inside: npt.NDArray[np.bool_] = x**2 + y**2 < 1.0
    return inside
