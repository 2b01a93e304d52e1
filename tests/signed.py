"""Keys and signed bundles for the tests of signatures. Needs the extra `signing`."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def write_private(file: Path, key: Private, password: bytes | None = None) -> Path:
    """The private key as `openssl` writes it."""
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, hidden))
    return file


def write_public(file: Path, key: Private) -> Path:
    """Its public key."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    file.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return file


def write_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """The files of a new key pair: private, public."""
    key = ec.generate_private_key(ec.SECP256R1())
    return write_private(folder / f"{name}.pem", key), write_public(folder / f"{name}.pub", key)
