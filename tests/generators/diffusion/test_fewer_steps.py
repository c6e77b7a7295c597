"""How well a generator bears fewer steps: the rows of demos/bench/few_steps.py for generators of one's own."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bench_scripts import BENCH, load_script


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCH)  # it imports its neighbors
        yield load_script("few_steps")


def arguments(*folders: Path, solver: str = "euler") -> Namespace:
    return Namespace(generator=[str(one) for one in folders], solver=solver, repeats=1, seconds=0.08)


def test_more_steps_are_nearer_to_the_reference(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    problem = script.replace(script.toy(), steps=20)
    script.trained(problem, {}, 0).save_pretrained(tmp_path / "toy")
    rows = list(script.robustness_rows(arguments(tmp_path / "toy")))
    assert [row["steps"] for row in rows] == list(script.FEWER_STEPS)
    errors = [row["rms_from_reference"] for row in rows]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]
    assert rows[-1]["frechet_from_reference"] < rows[0]["frechet_from_reference"]
    monkeypatch.setattr(script, "FEWER_STEPS", (script.REFERENCE_STEPS,))
    (same,) = script.robustness_rows(arguments(tmp_path / "toy", solver="midpoint"))
    assert same["rms_from_reference"] == 0


def test_a_generator_without_steps_is_refused(script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(script, "load_generator", lambda folder: torch.nn.Identity())
    with pytest.raises(SystemExit, match="Identity, which has no denoising steps"):
        list(script.robustness_rows(arguments(tmp_path)))
