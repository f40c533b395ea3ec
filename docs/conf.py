"""How the documentation is built: `make docs`, then open build/docs/index.html.

Sphinx, with MyST for Markdown and the notebook, and Furo for the looks. The pages need no server and load nothing from
elsewhere, so they can be read, and searched, on a machine without network.
"""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(Path(__file__).parent / "extensions"), str(ROOT)]

project = "PTSAM-auto"
release = version = version_of("ptsam-auto")
html_title = f"PTSAM-auto {version}"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_line",  # ours: the reference of the command line, made from the commands
    "docstrings",  # ours: docstrings as this code writes them
]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # `python docs/notebook.py` has stored what the notebook shows
nb_merge_streams = True
default_role = "code"  # `name` in a docstring is code, as in Markdown
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
add_module_names = False
maximum_signature_line_length = 80  # a parameter a line beyond that

html_theme = "furo"
html_copy_source = html_show_sourcelink = False
html_show_copyright = html_show_sphinx = False
html_static_path = ["static"]
html_css_files = ["wide.css"]
exclude_patterns = ["extensions", "static"]
