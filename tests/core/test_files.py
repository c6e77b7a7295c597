"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from latentune.core.files import atomic_path, finite, write_json


@pytest.fixture
def umask() -> Iterator[int]:
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_what_is_written_can_be_read_by_whom_the_umask_lets(tmp_path: Path, umask: int) -> None:
    with atomic_path(tmp_path / "a.safetensors") as part:
        save_file({"a": torch.ones(2)}, part)
    write_json(tmp_path / "a.json", {})
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "a.safetensors": 0o666 & ~umask,
        "a.json": 0o666 & ~umask,
    }


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)

    def stop_halfway() -> None:
        with atomic_path(tmp_path / "a.json") as part:
            part.write_text("2")
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        stop_halfway()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.json": "1\n"}


def test_numbers_that_json_lacks_become_none() -> None:
    value = {1: (float("nan"), 2.5, {"x": [float("-inf"), "text", True, None]})}
    assert finite(value) == {"1": [None, 2.5, {"x": [None, "text", True, None]}]}
