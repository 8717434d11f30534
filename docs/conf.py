"""The documentation site: ``sphinx-build -W --keep-going docs docs/_build/html``.  Nothing is fetched for it."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [
    str(HERE / "_ext"),
    str(HERE.parent),
]  # our extension; the figures, which make the page to explore

from gatescope import __version__  # noqa: E402

project, author = "gatescope", "The gatescope developers"
copyright = author
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "gatescope_site"]
exclude_patterns = ["_build", "_ext", "_static", "_templates", "generated/pages"]
exclude_patterns += ["generated/claims-page.md", "generated/commands.md"]  # parts of pages
templates_path = ["_templates"]
suppress_warnings = [
    # Titles of the documents that pages take parts of begin below the pages' own.
    "myst.header",
]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"  # every cell of a notebook runs in the build
nb_execution_timeout = 170
nb_execution_raise_on_error = True
nb_merge_streams = True
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm, of widgets that a page has not

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say the types, with shapes
default_role = "py:obj"
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = "gatescope"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["generated/pages"]
html_math_renderer = (
    "mathml"  # by docutils: browsers draw it without a script, which would have to be fetched
)
html_sidebars = {"**": ["globaltoc.html"]}
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navbar_center": [],  # all pages are in the sidebar
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
