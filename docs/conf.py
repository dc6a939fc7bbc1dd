"""Sphinx configuration; built with -W -n by scripts/docs."""

import dure

project = "dure"
author = "The dure developers"
project_copyright = author
release = dure.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.doctest"]
html_theme = "furo"
html_title = f"dure {release}"
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"
nitpick_ignore_regex = [("py:.*", r".*")]
napoleon_use_ivar = True  # attributes of dataclasses are listed once
