"""`scaled-jpeg BUNDLE ... --recipe RECIPE`: what decoding JPEGs at a part of their size saves, and what it changes.

All pairs of the held-out pictures are compared twice, prepared as the bundle does but for that one parameter. Pictures
of other formats are saved as JPEG first. With `--megapixels` all are enlarged to so many, which makes the time that of
a camera's picture; its detail stays that of the small one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.stats import mannwhitneyu

from app.core.bundle import Bundle, read_bundle
from app.core.modalities import create
from app.core.modalities.base import Item, Limits
from app.core.scoring import Float32, similarity_matrix
from app.runtime.encoder import Encoder
from model_export.card import markdown_table
from model_export.errors import CommandError
from model_export.populations import read_splits
from model_export.recipe import read_recipe
from model_export.subjects import newest

QUALITY = 90
WAYS = ("whole", "scaled")
HEADER = (
    "",
    "pictures",
    "megapixels",
    "JPEG",
    "ms a picture",
    "ROC AUC",
    "EER",
    "largest change of a score",
    "verdicts changed",
)

Mask = npt.NDArray[np.bool_]


def compare_decoding(folders: Sequence[Path], recipe_path: Path, megapixels: float | None) -> None:
    """Print two rows a bundle; verdicts are those at the threshold of equal errors of `whole`.

    Raises CommandError for a bundle or a recipe of other items than pictures.
    """
    items = read_splits(read_recipe(recipe_path)).calibration
    first, second = np.triu_indices(len(items), k=1)
    genuine = items.identity[first] == items.identity[second]
    rows: list[tuple[str, ...]] = [HEADER]
    for bundle in map(read_bundle, map(newest, folders)):
        if bundle.manifest.modality.name != "image" or "bytes" not in items.items[0]:
            raise CommandError(f"{bundle.key}: only pictures are JPEGs")
        pictures = [_as_jpeg(item, megapixels) for item in items.items]
        size = float(np.median([np.prod(Image.open(BytesIO(data)).size) for data in pictures])) / 1e6
        scores, prepare_ms = zip(*(_score(bundle, way, pictures) for way in WAYS), strict=True)
        pairs = [matrix[first, second] for matrix in scores]
        threshold = _equal_error(pairs[0], genuine)[0]
        for way, one, spent in zip(WAYS, pairs, prepare_ms, strict=True):
            auc = mannwhitneyu(one[genuine], one[~genuine]).statistic / (genuine.sum() * (~genuine).sum())
            change = float(np.abs(one - pairs[0]).max())
            changed = float(((one >= threshold) != (pairs[0] >= threshold)).mean())
            rows.append(
                (
                    bundle.key,
                    str(len(pictures)),
                    f"{size:.2g}",
                    way,
                    f"{spent:.2f}",
                    f"{auc:.4f}",
                    f"{_equal_error(one, genuine)[1]:.4f}",
                    f"{change:.2g}",
                    f"{changed:.2%}",
                )
            )
    print("\n".join(["", *markdown_table(rows)]))


def _as_jpeg(item: Item, megapixels: float | None) -> bytes:
    picture: Image.Image = Image.open(BytesIO(item["bytes"]))
    if picture.format == "JPEG" and megapixels is None:
        return bytes(item["bytes"])
    if megapixels is not None:
        scale = (megapixels * 1e6 / (picture.width * picture.height)) ** 0.5
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC
        )
    file = BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _score(bundle: Bundle, way: str, pictures: Sequence[bytes]) -> tuple[Float32, float]:
    """Scores of all pictures with all (pictures, pictures), and processor milliseconds to prepare one."""
    modality = create("image", {**bundle.manifest.modality.params, "jpeg": way}, {})
    started = time.process_time()
    prepared = [modality.prepare({"bytes": data}, Limits()) for data in pictures]
    spent = (time.process_time() - started) * 1e3 / len(pictures)
    vectors = Encoder(bundle, device="cpu", threads=1).embed_prepared(prepared)
    return similarity_matrix(vectors, vectors, bundle.manifest.embedding.metric), spent


def _equal_error(scores: Float32, genuine: Mask) -> tuple[float, float]:
    """The threshold where as many genuine pairs are missed as others match, and the mean of both rates there."""
    thresholds = np.sort(scores)
    missed = np.searchsorted(np.sort(scores[genuine]), thresholds) / genuine.sum()
    matched = 1.0 - np.searchsorted(np.sort(scores[~genuine]), thresholds) / (~genuine).sum()
    at = int(np.abs(missed - matched).argmin())
    return float(thresholds[at]), float(missed[at] + matched[at]) / 2
