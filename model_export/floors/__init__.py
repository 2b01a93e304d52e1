"""Floors: what a comparison without learning does on the same items and pairs, measured by the same code.

A floor is a subject like a bundle: it turns items into rows, which are then compared. What an encoder gains over it is
what training was good for. Here are their names and what each is for; subject.py has the subject. One file each kind of
rows:

- pixels: pictures as they are prepared, correlation of their pixels (pixels.py)
- characters: text, cosine of TF-IDF over character n-grams (characters.py)
- bands: sounds as log-mel frames, correlation of the mean log spectrum over time (sequences.py)
- euclidean: series or log-mel frames as they are prepared, Euclidean distance, stretched to one length (sequences.py)
- dtw: the same, dynamic time warping (sequences.py, warping.py)
- beat, spectrum: electrocardiograms, correlation of the averaged beat or of log spectra (heartbeats.py)
"""

from __future__ import annotations

from collections.abc import Mapping

FITS: Mapping[str, tuple[str, ...]] = {
    "pixels": ("image",),
    "euclidean": ("series", "audio"),
    "dtw": ("series", "audio"),
    "characters": ("text",),
    "beat": ("series",),
    "spectrum": ("series",),
    "bands": ("audio",),
}
"""Floor -> modalities that it is for."""
DEFAULTS: Mapping[str, str] = {"image": "pixels", "text": "characters", "audio": "bands", "series": "euclidean"}
"""Modality -> the floor that stands beside every figure where none is named: one that costs little."""
NONE = "none"
