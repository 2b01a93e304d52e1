"""DICOM files: the first frame, of 8 bits a channel. Imported only where a bundle declares `dicom`: it needs pydicom.

reading.py goes from a file to its picture, elements.py holds what a file says of itself, with bounds on what reading
it may cost, and frames.py unpacks samples. The window is in windowing.py, which needs no pydicom.
"""

from app.core.modalities.image.dicom.reading import read

__all__ = ["read"]
