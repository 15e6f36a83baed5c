"""How Sphinx builds the site: `python -m sphinx -W --keep-going docs build/docs`, and open build/docs/index.html.

The pages are Markdown. Some of them hold a line `@@NAME@@`, which what the code says of itself takes the place of.
Nothing is fetched, neither in the building nor by the pages: the site opens from a file system without a network.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from contour import __version__  # noqa: E402
from scripts.docs.commands import commands_page  # noqa: E402
from scripts.docs.configuration import configuration_page  # noqa: E402
from scripts.docs.conformance import policy_table, provider_table, user_table  # noqa: E402
from scripts.docs.layers import layers_diagram, layers_table  # noqa: E402

project = "contour"
release = version = __version__
copyright = "the contour authors, Apache-2.0"  # noqa: A001 - Sphinx calls it so
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["build"]
suppress_warnings = ["config.cache"]  # functions of this file are no state of the build
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
default_role = "code"  # docstrings write names in single backticks

html_theme = "furo"
html_title = f"contour {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
pygments_style = "friendly"

GENERATED: dict[str, Callable[[], str]] = {
    "@@COMMANDS@@": commands_page,
    "@@CONFIGURATION@@": configuration_page,
    "@@PROVIDER@@": provider_table,
    "@@USER@@": user_table,
    "@@POLICY@@": policy_table,
    "@@LAYERS@@": lambda: f"{layers_diagram(ROOT / 'pyproject.toml')}\n\n{layers_table(ROOT / 'pyproject.toml')}",
}


def setup(app: Sphinx) -> None:
    """Put what the code says of itself into the pages."""
    app.connect("source-read", _fill)


def _fill(_: Sphinx, page: str, source: list[str]) -> None:
    if page == "index":  # a page that it names with a star may be still to come
        source[0] = "\n".join(line for line in source[0].splitlines() if not line.endswith("*") or _there(line))
    for mark, written in GENERATED.items():
        if mark in source[0].splitlines():
            source[0] = source[0].replace(mark, written())


def _there(pattern: str) -> bool:
    return any(Path(__file__).parent.glob(f"{pattern}.md"))
