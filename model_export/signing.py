"""`sign BUNDLE --key PEM`: an OpenSSF signature over all files of a bundle, beside its manifest. Changes no other file.

The same as `model_signing sign key BUNDLE --private_key PEM --signature BUNDLE/model.sig`, but for what is checked
first: nobody should put their name to a bundle that would not be served.
"""

from __future__ import annotations

from pathlib import Path

from app.core.bundle import SIGNATURE_FILE, read_bundle
from model_export.errors import CommandError, needing


def sign(bundle: Path, key: Path) -> Path:
    """Sign the bundle in the folder `bundle` with the private key in the PEM file `key`; returns the signature's file.

    Raises BundleRefused for what is no good bundle, CommandError for a key that cannot be used, OSError.
    """
    with needing("signing"):
        from model_signing import hashing, signing  # noqa: PLC0415  (nothing else needs it)
    folder = bundle.resolve()
    read_bundle(folder)
    target, draft = folder / SIGNATURE_FILE, folder / f".{SIGNATURE_FILE}.tmp"
    if key.resolve().is_relative_to(folder):
        raise CommandError(f"{key}: a private key has no place in a bundle")
    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=key)
    except OSError:
        raise
    except Exception as error:  # one type a kind of unfit key: RSA, a password, no PEM
        raise CommandError(f"{key}: holds no private key without a password on P-256, P-384 or P-521") from error
    paths = [Path(SIGNATURE_FILE), Path(draft.name)]
    signer.set_hashing_config(hashing.Config().set_ignored_paths(paths=paths))
    try:
        signer.sign(folder, draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target
