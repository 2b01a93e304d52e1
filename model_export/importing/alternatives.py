"""What a spec might have meant instead: the ways in which preparations commonly differ, one axis each.

A choice is what it changes, dotted field -> value, as a spec writes it. No graph is run here.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model_export.importing.onnx_spec import Spec

Choice = Mapping[str, Any]

SCALINGS: Mapping[str, tuple[Any, Any]] = {
    "0 to 255": (0.0, 1.0),
    "0 to 1": (0.0, 255.0),
    "-1 to 1": (127.5, 127.5),
    "(x - 127.5) / 128": (127.5, 128.0),
    "ImageNet's mean and deviation": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "CLIP's mean and deviation": ((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.3231630)),
    "ImageNet's mean alone": ((123.675, 116.28, 103.53), 1.0),
}
"""Words -> mean and scale of values 0 to 255, a number a channel in the order red, green, blue.

ImageNet's are torchvision's 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225; CLIP's those of its preprocessing."""
POOLINGS = ("none", "mean", "first")


def axes_of(spec: Spec, outputs: Sequence[str] = (), *, whole_numbers: bool = False) -> dict[str, list[Choice]]:
    """Axis in words -> the choices other than the spec's own. `outputs` are the file's, in which a vector may come.

    `whole_numbers`: the graph takes them, so that there is nothing to scale.
    """
    axes = dict(_axes_of_modality(spec, whole_numbers))
    axes["pooling"] = _others(spec, "graph.pooling", POOLINGS)
    other = [one["graph.output"] for one in _others(spec, "graph.output", outputs)] if len(outputs) > 1 else []
    axes["output"] = [{"graph.output": name, "graph.pooling": pooling} for name in other for pooling in POOLINGS]
    euclidean = spec.graph.metric == "euclidean"
    axes["length"] = [{"graph.metric": "cosine", "graph.normalise": True}] if euclidean else []
    return {axis: choices for axis, choices in axes.items() if choices}


def _axes_of_modality(spec: Spec, whole_numbers: bool) -> Iterator[tuple[str, list[Choice]]]:
    if spec.graph.pixels is not None:
        colour = spec.modality.params.get("mode") == "RGB"
        if colour:
            yield "channel order", _others(spec, "graph.pixels.channels", ("rgb", "bgr"))
        if not whole_numbers:
            yield "scaling", list(_scalings(spec, colour))
        yield "fit", _others(spec, "modality.params.fit", ("stretch", "pad", "crop"))
        yield "resizing", list(_filters(spec))
        yield "turning by EXIF", _others(spec, "modality.params.orientation", ("exif", "ignore"))
        yield "background", _others(spec, "modality.params.background", (0, 127, 255))
        yield "layout", _others(spec, "graph.pixels.layout", ("nchw", "nhwc"))
    elif spec.modality.name == "series":
        yield "layout", _others(spec, "graph.layout", ("ntc", "nct"))
        yield "normalisation", list(_series_normalisations(spec))
    elif spec.modality.name == "audio":
        yield "layout", _others(spec, "graph.layout", ("ntc", "nct"))
        if spec.modality.params.get("features", {}).get("kind") == "log_mel":
            yield "mel scale", _others(spec, "modality.params.features.mel_scale", ("htk", "slaney"))
            yield "normalisation", _others(spec, "modality.params.features.normalise", ("none", "per_item_mean"))
            yield "floor", _others(spec, "modality.params.features.floor", (1e-10, 1e-8, 1e-6, 1e-5))
    elif spec.modality.name == "text":
        yield "Unicode form", _others(spec, "modality.params.unicode_form", ("none", "NFC", "NFKC"))
        names = (None, *spec.modality.params.get("prefixes", {}))
        yield "prefix", _others(spec, "modality.params.default_prefix", names)


def change(spec: Spec, choice: Choice) -> Spec:
    """The spec with a choice. Raises pydantic's ValidationError where its fields do not fit together."""
    fields = copy.deepcopy(spec.model_dump(by_alias=True))
    for name, value in choice.items():
        *parents, last = name.split(".")
        section = fields
        for parent in parents:
            section = section[parent]
        section[last] = value
    return Spec.model_validate(fields)


def written(choice: Choice) -> str:
    """A choice in one line, as a spec says it."""
    return ", ".join(f"{name} = {_toml(value)}" for name, value in choice.items())


def _toml(value: Any) -> str:
    if value is None:
        return "(left out)"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _get(spec: Spec, name: str) -> Any:
    found: Any = spec.model_dump(by_alias=True)
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _others(spec: Spec, name: str, values: Sequence[Any]) -> list[Choice]:
    return [{name: value} for value in values if value != _get(spec, name)]


def _scalings(spec: Spec, colour: bool) -> Iterator[Choice]:
    """The scalings other than the spec's own. A number a channel is in the graph's order, so it is given in both."""
    pixels = spec.graph.pixels
    assert pixels is not None
    for mean, scale in SCALINGS.values():
        if not colour and (isinstance(mean, tuple) or isinstance(scale, tuple)):
            continue
        for turn in (1, -1):
            turned = tuple(one[::turn] if isinstance(one, tuple) else one for one in (mean, scale))
            if turned != (pixels.mean, pixels.scale) and (turn == 1 or turned != (mean, scale)):
                yield {"graph.pixels.mean": turned[0], "graph.pixels.scale": turned[1]}


def _filters(spec: Spec) -> Iterator[Choice]:
    own = tuple(_get(spec, f"modality.params.{name}") for name in ("resample", "antialias"))
    for resample in ("bilinear", "bicubic", "lanczos", "box", "hamming"):
        for antialias in (True, False) if resample in ("bilinear", "bicubic") else (True,):
            if (resample, antialias) != own:
                yield {"modality.params.resample": resample, "modality.params.antialias": antialias}


def _series_normalisations(spec: Spec) -> Iterator[Choice]:
    for name in ("none", "per_item"):
        if name != _get(spec, "modality.params.normalisation"):
            yield {
                "modality.params.normalisation": name,
                "modality.params.mean": None,
                "modality.params.scale": None,
            }
