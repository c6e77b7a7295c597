"""MkDocs hook: adds the pages that are generated from the code, and the changelog, to the site.

The linked folders of `src/latentune` are copied into one temporary package first, because mkdocstrings' reader does not
follow links.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from api_pages import api_pages
from command_page import command_page
from config_pages import config_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from names_page import names_page

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
LINKED = ("tokenizers", "generators", "pipelines", "configs")
_copies: list[tempfile.TemporaryDirectory[str]] = []


@event_priority(100)  # before mkdocstrings reads its paths
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Copies the package and lets mkdocstrings read the copy."""
    sys.path.insert(0, str(SOURCE))
    folder = tempfile.TemporaryDirectory(prefix="latentune-docs-")
    _copies.append(folder)
    package = Path(folder.name) / "latentune"
    shutil.copytree(SOURCE / "latentune", package, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    for name in LINKED:
        (package / name / "__init__.py").touch()
    handlers = config.plugins["mkdocstrings"].config.handlers
    handlers["python"]["paths"] = [folder.name]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    pages = {
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "reference/commands.md": command_page(),
        "reference/config.md": config_page(),
        "reference/names.md": names_page(ROOT / "configs"),
        **{f"reference/api/{name}.md": text for name, text in api_pages(SOURCE / "latentune").items()},
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Removes the copies of the package."""
    while _copies:
        _copies.pop().cleanup()
