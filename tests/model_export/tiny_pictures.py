"""Synthetic folders in the layout of the real sets of signatures, groceries, X-rays and faces."""

from __future__ import annotations

import csv
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from model_export.drawings import draw_character


def write_tiny_signatures(folder: Path, writers: int = 16, names: int = 3) -> None:
    """signatures.npz: each writer signs each name in four media; the hand is in the drawing's own trembling."""
    folder.mkdir(parents=True)
    rows = [(w, n, m) for w in range(1, writers + 1) for n in range(names) for m in range(4)]
    images = np.stack([_signature(100 * name + writer, medium) for writer, name, medium in rows])
    writer, name, medium = (np.array(column, np.uint8) for column in zip(*rows, strict=True))
    np.savez_compressed(folder / "signatures.npz", images=images, writer=writer, name=name, medium=medium)


def write_tiny_dutch(folder: Path, writers: int = 8, genuine: int = 7, makers: int = 2) -> None:
    """signatures.npz in white on black: own signatures, and two imitations by each of some makers."""
    folder.mkdir(parents=True)
    images, writer, own, names = [], [], [], []
    for signer in range(1, writers + 1):
        for number in range(1, genuine + 1):
            images.append(255 - _signature(1000 + signer, number))
            names.append(f"{number:02}_{signer:03}.png" if signer % 2 else f"{signer:03}_{number:02}.PNG")
        for maker in range(1, makers + 1):
            for number in (1, 2):
                images.append(255 - _signature(1000 + signer, 100 * maker + number))
                code = f"01{maker:02}{signer:03}"
                names.append(f"{number:02}_{code}.PNG" if signer % 2 else f"{code}_{number:02}.png")
        writer += [signer] * (genuine + 2 * makers)
        own += [True] * genuine + [False] * (2 * makers)
    np.savez_compressed(
        folder / "signatures.npz",
        images=np.stack(images),
        writer=np.array(writer, np.uint8),
        genuine=np.array(own),
        filename=np.array(names),
    )


def _signature(shape: int, hand: int) -> npt.NDArray[np.uint8]:
    return np.asarray(draw_character(shape, hand, (56, 56)))


KINDS = {
    "Apple": ("Red-Apple", "Green-Apple"),
    "Pear": ("Soft-Pear",),
    "Milk": ("Oat-Milk", "Cow-Milk"),
    "Leek": ("Leek",),
    "Pepper": ("Red-Pepper", "Green-Pepper"),
    "Carrot": ("Carrot",),
}


def write_tiny_groceries(folder: Path, photographs: int = 3) -> None:
    """images.zip and classes.csv: each product is a colour, in a train and a test folder and in the catalogue."""
    folder.mkdir(parents=True)
    rows = []
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for place, (kind, product) in enumerate((kind, one) for kind, many in KINDS.items() for one in many):
            at = f"Things/{kind}" if product == kind else f"Things/{kind}/{product}"
            for number in range(photographs):
                part = "test" if number == 0 else "train"
                archive.writestr(f"{part}/{at}/{product}_{number:03}.jpg", colour_picture(place, number))
            icon = f"iconic-images-and-descriptions/{at}/{product}_Iconic.jpg"
            archive.writestr(icon, colour_picture(place, 99))
            rows.append([product, place, kind, place, f"/{icon}", ""])
    header = ["Class Name (str)", "Class ID (int)", "Coarse Class Name (str)", "Coarse Class ID (int)"]
    with (folder / "classes.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[*header, "Iconic Image Path (str)", "Product Description Path (str)"], *rows])


def colour_picture(kind: int, number: int) -> bytes:
    """A JPEG of one colour with a texture of its own, another noise for each number."""
    noise = np.random.default_rng([kind, number]).normal(0, 20, (40, 48, 3))
    own = np.random.default_rng(kind).integers(30, 225, 3)
    file = BytesIO()
    Image.fromarray(np.clip(own + noise, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def write_tiny_xrays(folder: Path) -> None:
    """pneumoniamnist.npz: one picture of the training part is also in the validation part, one is there twice."""
    folder.mkdir(parents=True)
    pictures = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
    train, held_out = pictures[:40].copy(), pictures[40:].copy()
    train[3], train[7], held_out[4] = held_out[0], train[6], held_out[5]
    np.savez_compressed(
        folder / "pneumoniamnist.npz",
        train_images=train,
        train_labels=(np.arange(40) % 2)[:, np.newaxis].astype(np.uint8),
        val_images=held_out,
        val_labels=(np.arange(20) // 2 % 2)[:, np.newaxis].astype(np.uint8),
    )


def write_tiny_faces(folder: Path, people: int = 12) -> None:
    """images.zip and pairs.tsv of folds 1 and 2: most people twice, some once."""
    folder.mkdir(parents=True)
    rows = [["fold", "label", "a", "b"]]
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for fold in (1, 2):
            names = [f"Some_One_{fold}{number:02}" for number in range(people)]
            alone = [f"Alone_{fold}{number:02}_0001.jpg" for number in range(3)]
            for place, name in enumerate(names):
                rows.append([str(fold), "1", f"{name}_0001.jpg", f"{name}_0002.jpg"])
                for number in (1, 2):
                    archive.writestr(f"{name}_{number:04}.jpg", colour_picture(100 * fold + place, number))
            for place, name in enumerate(alone):
                rows.append([str(fold), "0", f"{names[place]}_0001.jpg", name])
                archive.writestr(name, colour_picture(100 * fold + 50 + place, 1))
    (folder / "pairs.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n", "utf-8")


def write_tiny_att_faces(folder: Path, people: int = 6) -> None:
    """faces.npz: three photographs a person."""
    folder.mkdir(parents=True)
    subject = np.repeat(np.arange(1, people + 1), 3)
    images = np.random.default_rng(0).integers(0, 256, (len(subject), 56, 46), dtype=np.uint8)
    np.savez_compressed(
        folder / "faces.npz", images=images, subject=subject.astype(np.uint8), shot=np.tile([1, 2, 3], people)
    )
