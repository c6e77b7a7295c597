"""Pages of the Python API: one for each part of the package, listing the public names of its modules."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

# Page -> its title, and the modules on it. A folder stands for its `__init__.py` where that names anything in
# `__all__`, and for all modules in it otherwise.
PAGES = {
    "tokenizers": (
        "Tokenizers",
        ("tokenizers/*.py", "tokenizers/codicodec", "tokenizers/taae", "tokenizers/neucodec", "tokenizers/melcodec"),
    ),
    "generators": (
        "Generators",
        (
            "generators/*.py",
            "generators/conditioning",
            "generators/diffusion",
            "generators/language",
            "generators/continuous",
        ),
    ),
    "pipelines": (
        "Pipelines",
        (
            "pipelines/*.py",
            "pipelines/generation",
            "pipelines/training",
            "pipelines/engines",
            "pipelines/hosting",
            "pipelines/serve",
        ),
    ),
    "data": ("Audio files and latent shards", ("pipelines/data/audio", "pipelines/data/shards", "pipelines/data/*.py")),
    "measure": ("Measuring", ("pipelines/measure/*",)),
    "core": ("Core", ("core/*.py",)),
    "layers": ("Layers", ("layers/*.py",)),
}


def api_pages(package: Path) -> dict[str, str]:
    """Returns the Markdown of each page.

    Args:
        package: The folder `src/latentune`.

    Returns:
        Name of the page to its text, which leaves the documentation itself to mkdocstrings.
    """
    pages = {"latentune": names_page()}
    for name, (title, patterns) in PAGES.items():
        modules = [module for pattern in patterns for module in _modules(package, pattern)]
        pages[name] = f"# {title}\n\n" + "\n".join(_section(package, module) for module in modules)
    return pages


def names_page() -> str:
    """Returns the page of the names that `import latentune` gives, each with a link to its documentation."""
    import latentune

    rows = ""
    for name in latentune.__all__:
        if not name.startswith("_"):
            summary = (inspect.getdoc(getattr(latentune, name)) or "").split("\n\n")[0]
            link = f"[`{name}`][latentune.{latentune._PLACES[name]}.{name}]"
            rows += f"| {link} | {' '.join(summary.split()).replace('|', chr(92) + '|')} |\n"
    head = "# latentune\n\nThese names come from `latentune` itself; each is loaded when it is first used.\n\n"
    return f"{head}| name | description |\n|---|---|\n{rows}"


def public_names(module: Path) -> list[str]:
    """Returns the names of `__all__`, or else of the classes and functions that do not begin with an underscore."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return [name for name in ast.literal_eval(node.value) if not name.startswith("_")]
    defined = (node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef)))
    return [node.name for node in defined if not node.name.startswith("_")]


def _modules(package: Path, pattern: str) -> list[Path]:
    found: list[Path] = []
    for path in sorted(package.glob(pattern)):
        if path.suffix == ".py":
            found.append(path)
        elif path.is_dir() and public_names(path / "__init__.py"):
            found.append(path / "__init__.py")
        elif path.is_dir():
            found += sorted(path.glob("*.py"))
    return [path for path in found if public_names(path)]


def _section(package: Path, module: Path) -> str:
    parts = module.relative_to(package).with_suffix("").parts
    dotted = ".".join(("latentune", *parts)).removesuffix(".__init__")
    names = "".join(f"        - {name}\n" for name in public_names(module))
    return (
        f"## {dotted}\n\n::: {dotted}\n    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n"
        f"      members:\n{names}"
    )
