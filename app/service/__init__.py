"""Use cases without HTTP: embed items, compare pairs of them, match one against a file, describe the models.

items.py tells what an item is, inference.py turns distinct items into embeddings, notices.py says what was done to
them, matching.py judges a file of references, usecases.py is the Service, recording.py makes records of verdicts. No
statuses, no frameworks.
"""

from app.service.items import Blob, RawItem
from app.service.matching import Matched, Reference
from app.service.notices import Notice
from app.service.recording import Recorder, Request
from app.service.usecases import Comparison, Embedded, Service

__all__ = [
    "Blob",
    "Comparison",
    "Embedded",
    "Matched",
    "Notice",
    "RawItem",
    "Recorder",
    "Reference",
    "Request",
    "Service",
]
