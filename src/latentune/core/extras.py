"""Packages that only some features need: imported where they are used, with an error that names what to install.

The project is on no package index, so that the advice names the packages themselves: it works in a checkout and in any
other environment.
"""

from __future__ import annotations

import importlib
import importlib.util
import shlex
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import MissingPackageError

PROJECT_FILE = Path(__file__).resolve().parents[3] / "pyproject.toml"  # of a checkout that is not installed


def import_extra(module: str, extra: str | None, purpose: str) -> ModuleType:
    """Import a module that only some features need.

    Args:
        module: Full name of the module, such as `matplotlib.figure`.
        extra: Name of the extra in pyproject.toml that brings its package, such as `report`; None for one of the
            requirements of the whole library.
        purpose: What needs it, as the beginning of a sentence: "a spectrogram".

    Returns:
        The imported module.

    Raises:
        MissingPackageError: The package is not installed. The message says how to install it.
    """
    package = module.partition(".")[0]
    if not is_installed(package):
        raise MissingPackageError(f"{purpose} needs {package}: {install_command(package, extra)}")
    return importlib.import_module(module)


def import_class(name: str, purpose: str, package: str = "transformers") -> Any:
    """Import a class of a package that the whole library requires, but that may be missing or too old.

    Args:
        name: Name of the class.
        purpose: What needs it, as the beginning of a sentence: "the embedder clap".
        package: The package.

    Returns:
        The class.

    Raises:
        MissingPackageError: The package is not installed, or its version does not have the class.
    """
    module = import_extra(package, None, purpose)
    try:
        return getattr(module, name)
    except (AttributeError, ImportError, RuntimeError) as error:
        command = install_command(package).replace("install", "install -U", 1)
        raise MissingPackageError(f"{purpose} needs {name} of {package}: {command} ({error})") from error


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


def install_command(package: str, extra: str | None = None) -> str:
    """Returns the command that installs a package in a version that fits, such as `pip install 'jinja2>=3.1'`.

    Args:
        package: Its import name.
        extra: The extra that brings it. Where its packages belong together (`laion-clap`), all of them are named.
    """
    named = [line for line in _requirements(extra) if _import_name(line) == package]
    together = _requirements(extra) if extra is not None and extra.replace("-", "_") == package else []
    return f"pip install {' '.join(map(shlex.quote, together or named[:1] or [package]))}"


def explained(error: ImportError) -> MissingPackageError | None:
    """Returns an error that says what to install in place of an `ImportError` of a package that the library uses.

    None for an error about something else, such as a module of this library.
    """
    package = (error.name or "").partition(".")[0]
    found = {_import_name(line): line for line in [*_requirements(None), *_all_extras()]}.get(package)
    if found is None:
        return None
    command = f"pip install -U {shlex.quote(found)}"
    if is_installed(package):
        return MissingPackageError(f"{error}: the installed {package} does not fit, {command}")
    return MissingPackageError(f"{package} is not installed: {command}")


def _import_name(requirement: str) -> str:
    """Returns the import name of a requirement such as `onnx-asr>=0.12`."""
    for character in "[<>=!~ ;":
        requirement = requirement.partition(character)[0]
    name = requirement.replace("-", "_")
    return {"pyyaml": "yaml", "mkdocs_material": "material"}.get(name, name)


def _requirements(extra: str | None) -> list[str]:
    """Returns the requirements of the library, or of one of its extras."""
    return _declared().get(extra or "", [])


def _all_extras() -> list[str]:
    return [line for extra, lines in _declared().items() if extra for line in lines]


@cache
def _declared() -> dict[str, list[str]]:
    """Returns the requirements of each extra, those of the whole library under the empty name."""
    try:
        lines = requires("latentune") or []
    except PackageNotFoundError:
        if not PROJECT_FILE.is_file():
            return {}
        project = tomllib.loads(PROJECT_FILE.read_text(encoding="utf-8"))["project"]
        return {"": project["dependencies"], **project["optional-dependencies"]}
    declared: dict[str, list[str]] = {}
    for line in lines:
        requirement, _, marker = line.partition(";")
        declared.setdefault(marker.partition("extra ==")[2].strip(" '\""), []).append(requirement.strip())
    return declared
