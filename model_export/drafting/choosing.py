"""A whole draft: which kind of input, which output, and what only the owner knows."""

from __future__ import annotations

import math
from collections.abc import Iterator

from model_export.drafting import audio, image, series, text
from model_export.drafting.entries import Entry, ask, guess, known
from model_export.drafting.graph import Facts, Port
from model_export.errors import CommandError
from model_export.importing.declaring import UNKNOWN, UNKNOWN_NOT, UNKNOWN_RELATION, bundle_name

KINDS = {"text": text, "audio": audio, "image": image, "series": series}
"""Asked in this order, since a sound's bands have three axes as a series has."""
TELLING = ("sentence_emb", "embed", "pooler", "pooled", "vector", "feature", "fc1", "last_hidden")
"""Parts of the names that embeddings have, the most telling first."""

UNTELLING = ("model", "onnx")
"""What exports call every file and folder."""


def recognise(facts: Facts) -> tuple[str, str]:
    """The modality and why. Raises CommandError for a graph that takes what no modality makes."""
    for name, kind in KINDS.items():
        if (why := kind.recognise(facts)) is not None:
            return name, why
    takes = ", ".join(f"{port.name} {port.dtype} with {_axes(port)}" for port in facts.inputs) or "nothing"
    raise CommandError(
        f"{facts.path}: takes {takes}: no kind of input makes that (text: whole numbers in 2 axes; pictures: 4 axes; "
        "series: 3; sound: 2, or 3 where the name says mel or audio)"
    )


def draft_spec(facts: Facts) -> list[Entry]:
    """Every entry of a spec. Raises CommandError where the graph takes or gives what no spec could name."""
    modality, why = recognise(facts)
    output = choose_output(facts)
    return [*_top(facts), guess("modality.name", modality, why), *_inside(facts, modality, output)]


def choose_output(facts: Facts) -> Entry:
    """The entry of graph.output. Raises CommandError where none could be an embedding."""
    able = [port for port in facts.outputs if _could_embed(port)]
    if not able:
        gives = ", ".join(f"{port.name} {port.dtype} with {_axes(port)}" for port in facts.outputs) or "nothing"
        raise CommandError(
            f"{facts.path}: gives {gives}: none of it is an embedding, one row of floating-point numbers for each item"
        )
    if len(facts.outputs) == 1:
        return known("graph.output", able[0].name, "the only output")
    others = ", ".join(port.name for port in facts.outputs)
    if len(able) == 1:
        return known("graph.output", able[0].name, f"of {others} the only one that could be an embedding")
    for part in TELLING:
        if named := [port for port in able if part in port.name.lower()]:
            return guess("graph.output", named[0].name, f"its name, of {others}")
    flat = [port for port in able if port.rank == 2] or able
    return guess("graph.output", flat[0].name, f"the first that could be an embedding, of {others}")


def _top(facts: Facts) -> Iterator[Entry]:
    path = facts.path.resolve()
    telling = (part for part in (path.stem, path.parent.name, path.parent.parent.name) if part not in UNTELLING)
    yield guess("name", bundle_name(next(telling, "")) or "encoder", "from its path; what requests will say")
    yield ask("origin", UNKNOWN, "who trained it, and on what")
    yield ask("intended_use", UNKNOWN, "what it is for")
    yield ask("relation.match_means", UNKNOWN_RELATION, "what two matching items have in common")
    yield ask("relation.not", UNKNOWN_NOT, "what a match does not mean")
    yield ask("licence.weights", UNKNOWN, "the licence of the weights")
    yield ask("licence.data", UNKNOWN, "the licence of the data that they were trained on")


def _inside(facts: Facts, modality: str, output: Entry) -> Iterator[Entry]:
    yield from KINDS[modality].draft(facts)
    yield output
    port = next(port for port in facts.outputs if port.name == output.value)
    yield _pooling(facts, modality, port)
    yield guess("graph.metric", "cosine", 'as nearly all are compared; else "euclidean", with normalise = false')
    yield guess("graph.normalise", True, "cosine needs unit length; where the graph gives that, it changes nothing")


def _pooling(facts: Facts, modality: str, port: Port) -> Entry:
    field = "graph.pooling"
    sizes = [] if port.dims is None else list(port.dims[1:])
    if port.dims is None:
        return guess(field, "none", f"{port.name} declares no axes")
    if sum(size != 1 for size in sizes) <= 1:
        return known(field, "none", f"{port.name} is one row for each item")
    if len(sizes) != 2:
        told = " x ".join("any" if size is None else str(size) for size in sizes)
        raise CommandError(f"{facts.path}: {port.name} is {told} for an item, and no spec pools that: export it pooled")
    if modality == "text":
        return text.pooling(facts) or guess(field, "mean", 'a vector for each token; "first" is as usual')
    if modality == "image":
        return guess(field, "first", 'a vector for each patch, the first of a class token; "mean" is as usual')
    return guess(field, "mean", "a vector for each step")


def _could_embed(port: Port) -> bool:
    if not port.dtype.startswith(("float", "bfloat")):
        return False
    if port.dims is None:
        return True
    sizes = [size for size in port.dims[1:] if size is not None]
    return len(port.dims) >= 2 and (len(sizes) < len(port.dims) - 1 or math.prod(sizes) > 1)


def _axes(port: Port) -> str:
    if port.dims is None:
        return "no declared axes"
    return f"{len(port.dims)} axes" if len(port.dims) != 1 else "1 axis"
