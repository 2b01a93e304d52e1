"""Centring: where a drawing stands and how large it is do not count, and the exported graph does the same."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image, ImageDraw

from app.core import modalities
from app.core.modalities.base import Limits, Modality, Window
from model_export import recipe
from model_export.encoders.centring import Centring
from model_export.encoders.choosing import make_encoder
from model_export.errors import CommandError
from model_export.export import to_onnx
from model_export.windows import stack_windows

SIDE = 32
CHOICE = recipe.DrawingChoice(name="drawing", side=SIDE, jitter=0.1, stages=(8, 12, 16), blocks=1, dimension=16)


def draw(left: float, top: float, size: float, shape: tuple[int, int] = (64, 64)) -> Image.Image:
    """A seven, its corners at shares of `size`, drawn fine and made smaller so that its place can be any."""
    picture = Image.new("L", (shape[1] * 8, shape[0] * 8), 255)
    line = [(0.1, 0.1), (0.9, 0.1), (0.4, 0.9), (0.2, 0.6)]
    points = [(8 * (left + x * size), 8 * (top + y * size)) for x, y in line]
    ImageDraw.Draw(picture).line(points, fill=0, width=round(size))
    return picture.resize((shape[1], shape[0]), Image.Resampling.BOX)


def ink(picture: Image.Image) -> torch.Tensor:
    return 1 - torch.from_numpy(np.asarray(picture, np.float32)[np.newaxis, np.newaxis] / 255)


def centre(picture: Image.Image) -> torch.Tensor:
    module = Centring(size=(picture.height, picture.width), side=SIDE, spread=0.19, jitter=0.1).eval()
    out: torch.Tensor = module(ink(picture))
    return out


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean difference of pixels, as a share of the ink."""
    return float((one - other).abs().sum() / one.sum())


def images(mode: str = "L") -> Modality:
    params = {
        "mode": mode,
        "width": 64,
        "height": 64,
        "fit": "pad",
        "resample": "bilinear",
        "antialias": True,
        "background": 255,
        "orientation": "exif",
        "sixteen_bit": "divide_257",
        "contrast": "none",
        "min_contrast": 16,
    }
    return modalities.create("image", params, {})


def test_place_and_size_do_not_count() -> None:
    here = centre(draw(5, 8, 24))
    assert here.shape == (1, 1, SIDE, SIDE)
    assert difference(here, centre(draw(33, 30, 24))) < 0.06
    assert difference(here, centre(draw(4, 6, 48))) < 0.2  # other pixels under the same lines
    assert difference(ink(draw(5, 8, 24)), ink(draw(33, 30, 24))) > 1.5


def test_the_spread_becomes_the_share_that_is_asked_for_and_its_middle_the_middle() -> None:
    out = centre(draw(7, 20, 30))[0, 0].double()
    out = out / out.sum()
    place = (torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE
    across, down = (out.sum(0) * place).sum(), (out.sum(1) * place).sum()
    assert abs(float(across) - 0.5) < 0.02
    assert abs(float(down) - 0.5) < 0.02
    variance = (out.sum(0) * (place - across) ** 2).sum() + (out.sum(1) * (place - down) ** 2).sum()
    assert abs(float(torch.sqrt(variance / 2)) - 0.19) < 0.02


def test_proportions_stay_in_a_picture_that_is_no_square() -> None:
    square, wide = draw(10, 10, 40), draw(30, 10, 40, (64, 120))
    assert difference(centre(square), centre(wide)) < 0.06


def test_pale_grain_of_paper_moves_nothing() -> None:
    clean = draw(5, 8, 24)
    grain = np.random.default_rng(0).integers(0, 40, (64, 64))
    noisy = Image.fromarray(np.clip(np.asarray(clean).astype(int) - grain, 0, 255).astype(np.uint8))
    module = Centring(size=(64, 64), side=SIDE, spread=0.19, jitter=0)
    (middle, half), (moved, other) = module.measure(ink(clean)), module.measure(ink(noisy))
    assert float((middle - moved).abs().max()) < 0.02
    assert abs(float(half[0, 0] / other[0, 0]) - 1) < 0.05


def test_blank_paper_and_a_dot_give_finite_pictures() -> None:
    blank = Image.new("L", (64, 64), 255)
    assert float(centre(blank).abs().max()) == 0.0
    dot = blank.copy()
    dot.putpixel((60, 3), 0)
    out = centre(dot)
    assert bool(torch.isfinite(out).all())
    assert 0 < float(out.sum()) < 100


def test_place_and_size_vary_in_training_alone() -> None:
    torch.manual_seed(0)
    module, picture = Centring(size=(64, 64), side=SIDE, spread=0.19, jitter=0.1), ink(draw(5, 8, 24))
    module.train()
    assert difference(module(picture), module(picture)) > 0.1
    module.eval()
    assert torch.equal(module(picture), module(picture))


def test_the_exported_graph_is_the_encoder_and_place_and_size_do_not_count_in_it() -> None:
    torch.manual_seed(0)
    modality = images()
    encoder = make_encoder(CHOICE, modality, 0).eval()
    session = onnxruntime.InferenceSession(to_onnx(encoder, modality), providers=["CPUExecutionProvider"])
    windows: list[Window] = []
    for picture in (draw(5, 8, 24), draw(33, 30, 26), draw(30, 10, 40, (64, 120)).rotate(90, fillcolor=255)):
        file = BytesIO()
        picture.save(file, "PNG")
        windows += modality.prepare({"bytes": file.getvalue()}, Limits()).windows
    pixels = stack_windows(windows)["pixels"]
    with torch.inference_mode():
        wanted = encoder(pixels).numpy()
    (got,) = session.run(None, {"pixels": pixels.numpy()})
    assert np.abs(got - wanted).max() < 1e-5
    assert np.abs(wanted[0] - wanted[1]).max() < np.abs(wanted[0] - wanted[2]).max()


def test_colours_are_refused() -> None:
    with pytest.raises(CommandError, match=r"drawing takes one channel, and modality\.params make 3"):
        make_encoder(CHOICE, images("RGB"), 0)
