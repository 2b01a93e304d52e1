"""Sound: the same bytes and params always give the same features. What a model expects is in its params, nowhere else.

modality.py holds the steps, params.py what a bundle declares, decoding.py goes from a file to mono samples at the
declared rate, features.py from samples to log-mel; containers.py and mp3.py read what a file says of its own length.
"""

from app.core.modalities.audio.modality import AudioModality, create
from app.core.modalities.audio.params import LogMel, Params

__all__ = ["AudioModality", "LogMel", "Params", "create"]
