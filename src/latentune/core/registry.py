"""Names of classes -> classes: a short name out of a visible table, or `module:Class` of any importable module."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from .config import nearest_hint
from .errors import CheckpointError, ConfigError

T = TypeVar("T")
SEPARATOR = ":"  # between module and class
CLASS_PATH = re.compile(rf'"([A-Za-z_][\w.]*){SEPARATOR}[A-Za-z_][\w.]*"')  # in JSON text; the group is the module
OWN_PACKAGE = __name__.split(".")[0]


def is_class_path(name: str) -> bool:
    """Returns whether `name` reads as `module:Class` rather than as a short name."""
    return SEPARATOR in name


def find_class(name: str, table: Mapping[str, str], base: type[T], *, what: str, package: str | None = None) -> type[T]:
    """Finds the class that a config names.

    Args:
        name: a key of `table`, or `module:Class` of any importable module (`my_package.codec:MyCodec`).
        table: short name -> `module:Class`, the module relative to `package` where it starts with a dot.
        base: the class that the result must derive from.
        what: what is being named, such as `"generator class"`, for messages.
        package: the package that relative modules of the table belong to; usually `__package__`.

    Returns:
        The class.

    Raises:
        ConfigError: an unknown name (with the nearest known one), a module that cannot be imported, an attribute that
            the module does not have, or a class that does not derive from `base`.
    """
    if name in table:
        return _checked(_load(table[name], what, package), base, name, what)
    if not is_class_path(name):
        raise ConfigError(f"no {what} {name!r}: {nearest_hint(name, table)} (or module:Class for a class of your own)")
    return _checked(_load(name, what, None), base, name, what)


def refuse_own_modules(config: Path) -> None:
    """Refuses a `config.json` that names a class of a module in its own folder, which loading it would run.

    Weights from somebody else must not bring code along; a module that is installed elsewhere may be named.

    Raises:
        CheckpointError: it names such a class.
    """
    folder = config.parent.resolve()
    for name in sorted(set(CLASS_PATH.findall(config.read_text(encoding="utf-8", errors="replace")))):
        top = name.split(".")[0]
        try:
            found = None if top in sys.modules else find_spec(top)
        except (ImportError, ValueError):
            found = None
        if found is not None and found.origin and Path(found.origin).resolve().is_relative_to(folder):
            raise CheckpointError(
                f"{config} names a class of the module {top}, which lies next to it: loading it would run code that "
                "came with the weights. If you trust it, put the module into another folder of PYTHONPATH"
            )


def class_path(cls: type) -> str:
    """Returns the name under which a saved config finds `cls` again: its own name for a class of this package, which
    is in a table, and `module:Class` for all others.

    Raises:
        ValueError: the class is local to a function, so that it cannot be imported.
    """
    if cls.__module__.split(".")[0] == OWN_PACKAGE:
        return cls.__name__
    if "<locals>" in cls.__qualname__:
        raise ValueError(f"{cls.__qualname__} is local to a function and cannot be loaded again: define it in a module")
    return f"{cls.__module__}{SEPARATOR}{cls.__qualname__}"


def _load(path: str, what: str, package: str | None) -> Any:
    module_name, _, attributes = path.partition(SEPARATOR)
    if not module_name or not attributes or (module_name.startswith(".") and package is None):
        raise ConfigError(f"{what} {path!r} is not of the form module:Class, such as my_package.codec:MyCodec")
    try:
        found: Any = import_module(module_name, package)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(f"{what} {path!r}: importing {module_name} failed: {error}") from error
        raise ConfigError(
            f"{what} {path!r}: there is no module {error.name}; install it, or add its folder to PYTHONPATH"
        ) from error
    except Exception as error:  # whatever a module of somebody else raises while it is imported
        raise ConfigError(f"{what} {path!r}: importing {module_name} failed: {error!r}") from error
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            public = [name for name in vars(found) if not name.startswith("_")]
            raise ConfigError(f"{what} {path!r}: {module_name} has no {attribute}; {nearest_hint(attribute, public)}")
        found = getattr(found, attribute)
    return found


def _checked(found: Any, base: type[T], name: str, what: str) -> type[T]:
    if not isinstance(found, type) or not issubclass(found, base):
        raise ConfigError(f"{what} {name!r} is not a subclass of {base.__module__}.{base.__qualname__}")
    return found
