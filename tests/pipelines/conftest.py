"""Helpers for tests of training: reading the folder of a run, and ending a run early."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from noise_generator import NoiseConfig, NoiseGenerator, binding_of
from safetensors.torch import load_file
from torch import Tensor

from latentune.pipelines.data.checkpoints import last_checkpoint
from latentune.pipelines.generation.pipeline import GenerationPipeline


class Killed(Exception):
    """Stands for a process that ends between two steps."""


class Runs:
    """Helpers that need no state of their own; tests get them as the fixture `runs`."""

    @staticmethod
    def contents(folder: Path) -> dict[str, Tensor]:
        """Every tensor of a checkpoint, or of a run's newest: weights, averaged weights, optimiser states."""
        checkpoint = last_checkpoint(folder) or folder
        return {
            f"{path.relative_to(checkpoint)}:{key}": value
            for path in sorted(checkpoint.rglob("*.safetensors"))
            for key, value in load_file(path).items()
        }

    @staticmethod
    def metrics(output: Path) -> list[dict[str, Any]]:
        """The lines of a run's metrics, without what depends on the clock."""
        lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in line.items() if k != "examples_per_s"} for line in lines]

    @classmethod
    def assert_same(cls, one: Path, other: Path, parts: set[str]) -> None:
        """Two runs ended with the same tensors, in the same `parts` of a checkpoint, and logged the same."""
        a, b = cls.contents(one), cls.contents(other)
        assert a.keys() == b.keys()
        assert {key.split(":")[0].split("/")[0] for key in a} == parts
        assert [key for key in a if not torch.equal(a[key], b[key])] == []
        assert cls.metrics(one) == cls.metrics(other)

    @staticmethod
    def kill_after(last_step: int, start: Callable[..., Any]) -> None:
        """`start(progress=...)`, ended after optimiser step `last_step`."""

        def kill(done: int, total: int, figures: dict[str, float]) -> None:
            if done == last_step:
                raise Killed

        with pytest.raises(Killed):
            start(progress=kill)


@pytest.fixture(scope="session")
def runs() -> type[Runs]:
    return Runs


@pytest.fixture
def pipe(tiny_codec: Any) -> GenerationPipeline:
    """A pipeline of the tiny codec and the generator of noise."""
    return GenerationPipeline(tiny_codec, NoiseGenerator(NoiseConfig(binding=binding_of(tiny_codec))).eval())
