"""Decision records: what a verdict was taken on, so that it can be checked and taken again later. No HTTP, no models.

record.py says what a record holds and checks one, signing.py signs and verifies, audit.py appends records to files.
Which verdict becomes a record is app/service/recording.py's; app/replay/ takes one again.
"""

from app.records.audit import AuditFile, read_audit
from app.records.record import FORMAT_VERSION, Record, RecordError, check, seal
from app.records.signing import Signer, read_public_key, read_signer

__all__ = [
    "FORMAT_VERSION",
    "AuditFile",
    "Record",
    "RecordError",
    "Signer",
    "check",
    "read_audit",
    "read_public_key",
    "read_signer",
    "seal",
]
