"""The golden probes of a modality, as its own params allow."""

from __future__ import annotations

from app.core.modalities.audio import AudioModality
from app.core.modalities.base import Item, Modality
from app.core.modalities.image import ImageModality
from app.core.modalities.series import SeriesModality
from app.core.modalities.text import TextModality
from model_export.drawings import probe_files
from model_export.errors import CommandError
from model_export.probes import audio, series, text
from model_export.probes.pictures import probe_photographs


def probe_items(modality: Modality) -> list[Item]:
    """Items that the modality takes. Raises CommandError for a modality that nothing was drawn for."""
    if isinstance(modality, ImageModality):
        photographs = probe_photographs() if modality.params.contrast == "none" else []
        return [{"bytes": data} for data in (*probe_files(), *photographs)]
    if isinstance(modality, TextModality):
        params = modality.params
        return text.probe_items(params.max_tokens, windowed=params.long_text == "window", prefixes=params.prefixes)
    if isinstance(modality, AudioModality):
        return audio.probe_items(modality.params.min_seconds, modality.params.max_seconds)
    if isinstance(modality, SeriesModality):
        return series.probe_items(modality.params)
    raise CommandError(f"no golden probes were drawn for {type(modality).__name__}")
