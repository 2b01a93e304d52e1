"""Grocery Store (Klasson et al. 2019), a sample: hand-held photographs of products in shops, as JPEG items, untouched.

Expects images.zip and classes.csv; see the set's own README for the names. Identity = unit = product (the fine class),
group = kind (the coarse class): a hard impostor is another product of the same kind. The catalogue's pictures, one a
product on white ground, train with the others but are measured apart: see read_catalogue.
"""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np

from app.core.modalities.base import Item
from model_export.datasets import LabelledItems, Run, Splits
from model_export.datasets.people import Numbers
from model_export.errors import CommandError
from model_export.recipe.data import GroceriesData

CATALOGUE = "iconic-images-and-descriptions"
PHOTOGRAPH, ICON = 0, 1


def read_splits(folder: Path, data: GroceriesData) -> Splits:
    """Cut by kind, so that no measured product has a sister that trained: kinds are drawn until they hold as many
    products as the recipe asks for. Photographs only are measured.
    """
    everything = _read(folder)
    kinds = np.random.default_rng(data.seed).permutation(np.unique(everything.group))
    held_out, rest = _draw(everything, kinds, data.held_out)
    validation, training = _draw(everything, rest, data.validation)
    if len(training) < 2:
        raise CommandError("data.held_out: the set has too few kinds of product for it")
    photographs = everything.source == PHOTOGRAPH
    measured = everything.select(np.isin(everything.group, held_out) & photographs)
    count = len(np.unique(measured.identity))
    return Splits(
        training=everything.select(np.isin(everything.group, training)),
        validation=everything.select(np.isin(everything.group, validation) & photographs),
        calibration=measured,
        test=None,
        test_population=f"the same {count} products, cross-fitted by kind of product",
    )


def read_catalogue(folder: Path, data: GroceriesData) -> Run:
    """Each measured photograph against the catalogue's pictures of all measured products."""
    everything = _read(folder)
    kinds = np.random.default_rng(data.seed).permutation(np.unique(everything.group))
    held_out, _ = _draw(everything, kinds, data.held_out)
    measured = everything.select(np.isin(everything.group, held_out))
    photographs, icons = measured.select(measured.source == PHOTOGRAPH), measured.select(measured.source == ICON)
    place = {int(product): at for at, product in enumerate(icons.identity)}
    return Run(photographs.items, icons.items, np.array([place[int(one)] for one in photographs.identity], np.int64))


def _draw(everything: LabelledItems, kinds: Numbers, products: int) -> tuple[Numbers, Numbers]:
    """The first kinds that together hold at least so many products, and those after them."""
    held = np.cumsum([len(np.unique(everything.identity[everything.group == kind])) for kind in kinds])
    count = int(np.searchsorted(held, products)) + 1
    if count > len(kinds):
        raise CommandError("data.held_out: the set has too few products for it")
    return kinds[:count], kinds[count:]


def _read(folder: Path) -> LabelledItems:
    """All pictures. Raises ValueError for a product that classes.csv does not name."""
    with (folder / "classes.csv").open(encoding="utf-8", newline="") as file:
        kind_of = {row["Class Name (str)"]: row["Coarse Class Name (str)"] for row in csv.DictReader(file)}
    products, kinds = sorted(kind_of), sorted(set(kind_of.values()))
    items: list[Item] = []
    identity, source = [], []
    with zipfile.ZipFile(folder / "images.zip") as archive:
        for name in sorted(one for one in archive.namelist() if one.endswith(".jpg")):
            path = PurePosixPath(name)
            icon = path.parts[0] == CATALOGUE
            items.append({"bytes": archive.read(name)})
            identity.append(products.index(path.stem.removesuffix("_Iconic") if icon else path.parent.name))
            source.append(ICON if icon else PHOTOGRAPH)
    product = np.array(identity, np.int64)
    group = np.array([kinds.index(kind_of[products[one]]) for one in identity], np.int64)
    return LabelledItems(items, product, product, group, np.array(source, np.int64), tuple(kinds))
