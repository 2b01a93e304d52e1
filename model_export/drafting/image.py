"""Guesses for an encoder of pictures: four axes, one of them channels."""

from __future__ import annotations

from collections.abc import Iterator

from model_export.drafting.entries import Entry, guess, known
from model_export.drafting.graph import Facts, Port, Step, affine, channel_axis, first_steps, numbers_seen
from model_export.importing.alternatives import SCALINGS

FACE_SIDE, FACENET_SIDE, USUAL_SIDE = 112, 160, 224
WIDE = 10.0
"""Numbers of mean or deviation beyond this are levels of 0 to 255."""
NARROW, SPREAD = 0.5, 12.0
"""Values that reach a first layer span about so much: 1 where they go from 0 to 1, 2 from -1 to 1, 4.5 by ImageNet's
deviation."""


def recognise(facts: Facts) -> str | None:
    """Why it seems to take pictures; None if not."""
    if len(facts.inputs) != 1 or facts.inputs[0].rank != 4:
        return None
    return f"its input {facts.inputs[0].name} has four axes, as pictures in a batch have"


def draft(facts: Facts) -> Iterator[Entry]:
    """The entries of modality.params, graph.inputs and graph.pixels."""
    port = facts.inputs[0]
    steps = first_steps(facts.model, port.name)
    layout, channels = _axes(port, steps)
    yield channels
    sizes = [(port.dims or ())[place] for place in ((2, 3) if layout.value == "nchw" else (1, 2))]
    for name, size in zip(("height", "width"), sizes, strict=True):
        field = f"modality.params.{name}"
        if size is None:
            yield guess(field, USUAL_SIDE, "the graph takes any size; most encoders were trained at 224")
        else:
            yield known(field, size, f"the {name} that {port.name} declares")
    face = sizes in ([FACE_SIDE] * 2, [FACENET_SIDE] * 2)
    yield _fit(face)
    yield guess(
        "modality.params.resample", "bilinear", "the usual filter; some were trained with bicubic, as timm's often are"
    )
    yield guess(
        "modality.params.antialias", True, "as Pillow and torchvision resize; false resizes as OpenCV's INTER_LINEAR"
    )
    yield guess("modality.params.background", 255, "seen behind transparency and beside padding only; 0 is as usual")
    yield guess(
        "modality.params.orientation", "exif", "turned upright as the file says, which Pillow alone does not do"
    )
    yield known("modality.params.sixteen_bit", "divide_257", "the only way that there is")
    yield guess("modality.params.contrast", "none", "paper is for ink on paper, in one channel")
    yield guess("modality.params.min_contrast", 8, "pictures of fewer levels are refused as blank; yours to choose")
    yield known("graph.inputs", {"pixels": port.name}, "the only input")
    yield layout
    if channels.value == "RGB":
        yield guess(
            "graph.pixels.channels", "rgb", 'no graph says which channel comes first; OpenCV reads "bgr", others do not'
        )
    yield from _scaling(port, steps, colour=channels.value == "RGB", sizes=sizes)


def _axes(port: Port, steps: tuple[Step, ...]) -> tuple[Entry, Entry]:
    """graph.pixels.layout and modality.params.mode."""
    layout, count = _layout(port.dims or (None,) * 4, port.name, channel_axis(steps, 4))
    mode = "modality.params.mode"
    if count not in (1, 3):
        return layout, guess(mode, "RGB", f"the graph says {count or 'any number of'} channels; pictures have 1 or 3")
    return layout, known(mode, "L" if count == 1 else "RGB", f"{count} channel{'s' * (count == 3)}")


def _layout(dims: tuple[int | None, ...], name: str, convolved: tuple[int, int] | None) -> tuple[Entry, int | None]:
    """graph.pixels.layout and the number of channels. `convolved`: where the first convolution finds them."""
    field, words = "graph.pixels.layout", {1: "nchw", 3: "nhwc"}
    if convolved is not None and convolved[0] in words:
        place, count = convolved
        return known(field, words[place], "where its first convolution looks for channels"), count
    places = [place for place in words if dims[place] in (1, 3)]
    if not places:
        return guess(field, "nchw", "no axis declares 1 or 3 channels; most exports put them first"), None
    say, why = known, f"axis {places[0]} of {name} has size {dims[places[0]]}"
    if len(places) == 2:
        say, why = guess, "both axis 1 and axis 3 could be channels"
    return say(field, words[places[0]], why), dims[places[0]]


def _fit(face: bool) -> Entry:
    field = "modality.params.fit"
    if face:
        return guess(field, "stretch", "a size of face encoders, which take faces cut out and aligned: send such crops")
    why = "most encoders saw the middle of a picture; where it was resized a little larger first, results differ"
    return guess(field, "crop", why)


def _scaling(port: Port, steps: tuple[Step, ...], *, colour: bool, sizes: list[int | None]) -> Iterator[Entry]:
    if not port.dtype.startswith(("float", "bfloat")):
        yield known("graph.pixels.mean", 0.0, f"{port.name} takes {port.dtype}, so the graph scales by itself")
        yield known("graph.pixels.scale", 1.0, "likewise")
        return
    words, why = _range_by_graph(steps) or _range_by_custom(colour, sizes)
    mean, scale = SCALINGS[words]
    yield guess("graph.pixels.mean", mean, f"{words}: {why}")
    yield guess("graph.pixels.scale", scale, "(value - mean) / scale, of values 0 to 255")


def _range_by_graph(steps: tuple[Step, ...]) -> tuple[str, str] | None:
    """One of SCALINGS and why, by what the graph itself does to its input first."""
    if (line := affine(steps)) is not None:
        a, b = line
        told = f"the graph begins by making x * {a:.4g} {'-' if b < 0 else '+'} {abs(b):.4g} of it"
        for words, reach in (("0 to 255", 255.0), ("0 to 1", 1.0)):
            if NARROW <= abs(a) * reach <= SPREAD:
                return words, told
    if (seen := numbers_seen(steps)) is None:
        return None
    mean, deviation = seen
    told = f"its first layer, a BatchNormalization, saw values of mean {mean:.3g} and deviation {deviation:.3g}"
    if max(abs(mean), deviation) > WIDE:
        return "0 to 255", told
    return "0 to 1" if 0.05 < mean < 1 and deviation < 0.45 else "-1 to 1", told


def _range_by_custom(colour: bool, sizes: list[int | None]) -> tuple[str, str]:
    """One of SCALINGS and why, by what encoders of this shape mostly take."""
    if sizes == [FACE_SIDE] * 2:
        return "-1 to 1", "as encoders of faces in ArcFace's size, 112 x 112, mostly take it"
    if sizes == [FACENET_SIDE] * 2:
        return "(x - 127.5) / 128", "as encoders of faces in FaceNet's size, 160 x 160, mostly take it"
    if colour:
        return "ImageNet's mean and deviation", "as most encoders of colour pictures take it; 0 to 1 comes next"
    return "0 to 1", "as most encoders of one channel take it"
