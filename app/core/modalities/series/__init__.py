"""Series: time steps x channels of numbers, such as an ECG, an accelerometer or a pen.

The steps, in order: check, fill gaps, bring to the graph's rate, normalise, cut into windows, pad. params.py holds the
params, rows.py goes from JSON rows to whole numbers of one rate, and modality.py from those to windows.
"""

from app.core.modalities.series.modality import SeriesModality, create
from app.core.modalities.series.params import Channel, Params

__all__ = ["Channel", "Params", "SeriesModality", "create"]
