"""What the README and the pages of the documentation show, as it would be typed."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = ROOT / "docs"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of exactly this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def commands(block: str) -> list[list[str]]:
    """The commands of a block; a line that ends in a backslash goes on."""
    lines = block.replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line and not line.startswith("#")]


def executed(page: Path) -> list[tuple[str, str]]:
    """The blocks that a test executes, in their order: (sh or python, content)."""
    return re.findall(r"^```(sh|python)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
