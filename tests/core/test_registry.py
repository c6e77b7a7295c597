"""Names of classes: a table, `module:Class`, and every way to name a class wrongly."""

import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from latentune.core.errors import ConfigError
from latentune.core.registry import class_path, find_class, is_class_path

TABLE = {"Ordered": "collections:OrderedDict", "Local": ".objective:Objective"}


class Mine(dict):  # type: ignore[type-arg]
    class Inner(dict):  # type: ignore[type-arg]
        pass


def find(name: str, base: type[Any] = dict, package: str | None = None) -> type[Any]:
    return find_class(name, TABLE, base, what="mapping", package=package)


def test_a_name_of_the_table_and_a_path_lead_to_the_class() -> None:
    assert find("Ordered") is OrderedDict
    assert find("collections:OrderedDict") is OrderedDict
    assert find("Local", object, "latentune.core").__name__ == "Objective"
    assert is_class_path("a:B")
    assert not is_class_path("B")


def test_a_class_of_ours_is_stored_by_its_name_and_any_other_by_its_path() -> None:
    from latentune.tokenizers.codicodec import CoDiCodec

    assert class_path(CoDiCodec) == "CoDiCodec"
    assert class_path(OrderedDict) == "collections:OrderedDict"
    for cls in (Mine, Mine.Inner):
        assert find(class_path(cls)) is cls

    class Hidden(dict):  # type: ignore[type-arg]
        pass

    with pytest.raises(ValueError, match="local to a function"):
        class_path(Hidden)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Orderd", "no mapping 'Orderd': did you mean 'Ordered'"),
        ("", "no mapping ''"),
        ("collections:OrderdDict", "collections has no OrderdDict; did you mean 'OrderedDict'"),
        ("collections:OrderedDict.x", "collections has no x"),
        ("collections:", "not of the form module:Class"),
        (":OrderedDict", "not of the form module:Class"),
        (".errors:ConfigError", "not of the form module:Class"),
        ("no_such_package.part:X", "no module no_such_package; install it, or add its folder to PYTHONPATH"),
        ("collections.nowhere:X", "no module collections.nowhere"),
        ("collections:namedtuple", "not a subclass of builtins.dict"),
        ("collections:deque", "not a subclass of builtins.dict"),
    ],
)
def test_wrong_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find(name)


def test_a_module_that_fails_when_it_is_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lacks_a_part.py").write_text("import no_such_package\n")
    (tmp_path / "wrong_syntax.py").write_text("def\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ConfigError, match="importing lacks_a_part failed: No module named 'no_such_package'"):
        find("lacks_a_part:X")
    with pytest.raises(ConfigError, match="importing wrong_syntax failed"):
        find("wrong_syntax:X")
