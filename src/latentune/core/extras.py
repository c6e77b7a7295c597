"""Packages that only some features need: imported where they are used, with an error that names what to install."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from .errors import MissingPackageError


def import_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module that belongs to one of the extras in pyproject.toml.

    Args:
        module: Full name of the module, such as `matplotlib.figure`.
        extra: Name of the extra that installs it, such as `report`.
        purpose: What needs it, as the beginning of a sentence: "a spectrogram".

    Returns:
        The imported module.

    Raises:
        MissingPackageError: The package is not installed. The message says how to install it.
    """
    package = module.partition(".")[0]
    if not is_installed(package):
        raise MissingPackageError(f"{purpose} needs {package}: pip install 'latentune[{extra}]'")
    return importlib.import_module(module)


def check_report_packages(purpose: str) -> None:
    """Raises MissingPackageError unless plots and HTML pages can be made: known before a long measurement.

    Args:
        purpose: What needs them, as the beginning of a sentence: "an HTML page".
    """
    for module in ("jinja2", "matplotlib.figure"):
        import_extra(module, "report", purpose)


def is_installed(package: str) -> bool:
    """Returns whether a top-level package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None
