"""`models/SHA256SUMS` anew, when a package that ships has changed: `python -m scripts.checksums`."""

import hashlib
from pathlib import Path

MODELS = Path(__file__).resolve().parents[1] / "models"
SUMS = "SHA256SUMS"


def checksums(models: Path) -> str:
    """A line for each file of the packages in `models`, as `sha256sum` writes and checks them."""
    files = sorted(path for path in models.rglob("*") if path.is_file() and path.name != SUMS)
    lines = (
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(models).as_posix()}" for path in files
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (MODELS / SUMS).write_text(checksums(MODELS), encoding="utf-8")
