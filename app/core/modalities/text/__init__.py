"""Text: the same string and params always give the same token ids. What is cut or windowed is declared and reported.

params.py holds the params, plain.py what is checked and normalised before the tokenizer, vocabulary.py the tokenizer
itself, and modality.py the steps from an item to arrays. Needs the Rust library `tokenizers`, and no network.
"""

from app.core.modalities.text.modality import TextModality, create
from app.core.modalities.text.params import Params

__all__ = ["Params", "TextModality", "create"]
