"""Signing records and verifying signatures: Ed25519, from key files in PEM. `cryptography` is imported only here.

Ed25519 and not an HMAC, because who can check an HMAC can forge one: a record is for whoever doubts it, and they get
the public key alone. `openssl genpkey -algorithm ed25519 -out key.pem` makes a key, `openssl pkey -in key.pem -pubout`
its public half.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.records.record import RecordError, Signature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Signer = Callable[[bytes], Mapping[str, str]]
NEEDS = "signed records need the package 'cryptography': install twinserve[records]"


def read_signer(file: Path) -> Signer:
    """What signs with the private key in this file. Raises ValueError in one line for a file that holds none."""
    key: Ed25519PrivateKey = _read(file, "load_pem_private_key", "Ed25519PrivateKey", password=None)
    key_id = _key_id(key.public_key())

    def sign(data: bytes) -> Mapping[str, str]:
        return {"algorithm": "ed25519", "key_id": key_id, "value": base64.b64encode(key.sign(data)).decode()}

    return sign


def read_public_key(file: Path) -> Callable[[bytes, Signature], None]:
    """What verifies with the key in this file, public or private; it raises RecordError.

    Raises ValueError in one line for a file that holds none.
    """
    try:
        key: Ed25519PublicKey = _read(file, "load_pem_public_key", "Ed25519PublicKey")
    except ValueError:
        private: Ed25519PrivateKey = _read(file, "load_pem_private_key", "Ed25519PrivateKey", password=None)
        key = private.public_key()
    own = _key_id(key)

    def verify(data: bytes, signature: Signature) -> None:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  (an extra, as below)

        if signature.key_id != own:
            raise RecordError(f"it is signed with the key {signature.key_id}, not with {own}")
        try:
            key.verify(base64.b64decode(signature.value, validate=True), data)
        except (InvalidSignature, binascii.Error):
            raise RecordError(f"the signature is not that of the key {own}: record or signature was changed") from None

    return verify


def _read(file: Path, load: str, kind: str, **options: Any) -> Any:
    """The key of this kind in a PEM file. Raises ValueError in one line."""
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415
    except ImportError:
        raise ValueError(NEEDS) from None
    try:
        key = getattr(serialization, load)(file.read_bytes(), **options)
    except OSError as error:
        raise ValueError(f"the key file cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):  # TypeError: it is encrypted
        key = None
    if not isinstance(key, getattr(ed25519, kind)):
        raise ValueError("the key file holds no Ed25519 key in PEM, not encrypted")
    return key


def _key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]
