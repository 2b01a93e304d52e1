"""Pictures: the same bytes and params always give the same pixels. Pixel scaling belongs to the graph, not here.

modality.py holds the params and the steps, decoding.py goes from a file to its first frame upright, samples.py from
16 bits to 8, and header.py reads what a file declares before anything is decoded. dicom/ and windowing.py read DICOM
files, for bundles that declare it.
"""

from app.core.modalities.image.modality import ImageModality, Params, create

__all__ = ["ImageModality", "Params", "create"]
