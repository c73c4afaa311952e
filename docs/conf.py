"""Configuration of Sphinx; ``make docs`` calls it with the pages that tests/documentation stages."""

from importlib.metadata import version as installed_version

project = "ScaleKit"
author = "the authors of ScaleKit"
release = version = installed_version("scalekit-asgi")

extensions = ["myst_parser", "sphinx_copybutton", "tests.documentation.accessibility"]
exclude_patterns = ["conf.py"]
nitpicky = True
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline"]
smartquotes = False  # quotation marks belong to values of TOML
highlight_language = "text"
copybutton_prompt_text = "$ "

html_theme = "furo"
html_title = "ScaleKit"
html_static_path = ["static"]
html_css_files = ["scalekit.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
pygments_style = "github-light"
pygments_dark_style = "github-dark"
