"""The table of capabilities names modules and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks" / "capabilities.md"


def test_every_test_and_module_that_is_named_exists() -> None:
    named = re.findall(r"`([^`]+)`", PAGE.read_text(encoding="utf-8"))
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    roots = (ROOT, ROOT / "src" / "latentune")
    found, modules = [], 0
    for name in named:
        if name.startswith("test_"):
            found.append(name in tests or name)
        elif "/" in name:
            stem, braces, rest = name.partition("{")
            members = [f"{stem}{part}.py" for part in rest.removesuffix("}.py").split(",")] if braces else [name]
            modules += len(members)
            found += [any((root / member).exists() for root in roots) or member for member in members]
    assert modules > 20
    assert [name for name in found if name is not True] == []
