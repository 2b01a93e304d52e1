"""The bundle: what an encoder is once it leaves training. The only code that knows the file names in one.

manifest.py says what a manifest holds, contents.py what a bundle is in memory, names.py what names of models mean,
reading.py which bundles are refused, writing.py how one is published. Nothing in a bundle is ever executed but its
ONNX graph.
"""

from app.core.bundle.contents import Bundle, Golden, to_http
from app.core.bundle.manifest import (
    CPU,
    CUDA,
    EXTERNAL_FILE,
    FORMAT_VERSION,
    MANIFEST_FILE,
    SIGNATURE_FILE,
    Draft,
    Embedding,
    Graph,
    Licence,
    Manifest,
    ModalityChoice,
    Numerics,
    Relation,
    Training,
    canonical_json,
    highest,
)
from app.core.bundle.names import ALIASES_FILE, Names, Trial, meant_by, read_names
from app.core.bundle.reading import ManifestCheck, Signature, find_bundles, read_bundle, sign, sign_models
from app.core.bundle.writing import seal, write_bundle

__all__ = [
    "ALIASES_FILE",
    "CPU",
    "CUDA",
    "EXTERNAL_FILE",
    "FORMAT_VERSION",
    "MANIFEST_FILE",
    "SIGNATURE_FILE",
    "Bundle",
    "Draft",
    "Embedding",
    "Golden",
    "Graph",
    "Licence",
    "Manifest",
    "ManifestCheck",
    "ModalityChoice",
    "Names",
    "Numerics",
    "Relation",
    "Signature",
    "Training",
    "Trial",
    "canonical_json",
    "find_bundles",
    "highest",
    "meant_by",
    "read_bundle",
    "read_names",
    "seal",
    "sign",
    "sign_models",
    "to_http",
    "write_bundle",
]
