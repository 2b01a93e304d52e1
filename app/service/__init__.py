"""Use cases without HTTP: embed items, compare pairs of items, describe the models. No statuses, no frameworks.

items.py tells what an item is, inference.py turns distinct items into embeddings, usecases.py is the Service.
"""

from app.service.items import Blob, RawItem
from app.service.usecases import Comparison, Embedded, Notice, Service

__all__ = ["Blob", "Comparison", "Embedded", "Notice", "RawItem", "Service"]
