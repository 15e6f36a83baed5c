"""Every check of the project, in the order of their cost; pytest comes last, and its closing line is the last line.

    python scripts/check.py            everything
    python scripts/check.py --fast     without the tests marked slow

The exit code is 0 if everything passed, else that of the first check that failed; the others run all the same.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run the checks one after the other; their output streams through."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="leave out the tests marked slow")
    arguments = parser.parse_args()
    python = sys.executable
    import_linter = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    checks = [
        ("format", [python, "-m", "ruff", "format", "--check", "."]),
        ("lint", [python, "-m", "ruff", "check", "."]),
        ("types", [python, "-m", "mypy"]),
        ("layers", [python, "-c", import_linter]),
        ("tests", [python, "-m", "pytest", *(["-m", "not slow"] if arguments.fast else [])]),
    ]
    codes = [_run(name, command) for name, command in checks]
    return next((code for code in codes if code), 0)


def _run(name: str, command: list[str]) -> int:
    print(f"== {name}", flush=True)
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code and name != "tests":
        print(f"== {name} FAILED (exit code {code})", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
