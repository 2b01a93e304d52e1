"""Use cases without HTTP: embed items, compare pairs of them, match one against a file, describe the models.

items.py tells what an item is, remote.py brings those that a URL names, inference.py turns distinct items into
embeddings, notices.py says what was done to them, matching.py judges a file of references, shadow.py has a version on
trial score what was answered, usecases.py is the Service, recording.py makes records of verdicts. No statuses, no
frameworks.
"""

from app.service.items import EMBEDDING, Blob, RawItem
from app.service.matching import Matched, Reference
from app.service.notices import Notice
from app.service.recording import Recorder, Request
from app.service.remote import Fetch
from app.service.shadow import Shadowing
from app.service.usecases import Comparison, Embedded, Service

__all__ = [
    "EMBEDDING",
    "Blob",
    "Comparison",
    "Embedded",
    "Fetch",
    "Matched",
    "Notice",
    "RawItem",
    "Recorder",
    "Reference",
    "Request",
    "Service",
    "Shadowing",
]
