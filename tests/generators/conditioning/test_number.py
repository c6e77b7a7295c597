"""Numbers as conditions: scale, range, nulls and values that are not numbers."""

import logging
import math
from typing import Any

import pytest
import torch

from latentune.generators.conditioning.number import NumberConditioner, NumberConfig

BPM = NumberConfig(lowest=60.0, highest=240.0)


@pytest.fixture
def bpm() -> NumberConditioner:
    torch.manual_seed(0)
    return NumberConditioner(16, BPM).eval()


def vectors(conditioner: NumberConditioner, *values: Any, drop: list[bool] | None = None) -> torch.Tensor:
    mask = torch.tensor(drop or [False] * len(values))
    vector = conditioner(conditioner.prepare(values), mask).vector
    assert vector is not None
    return vector


def test_positions_run_from_zero_to_one_on_either_scale(bpm: NumberConditioner) -> None:
    assert bpm.prepare([60, 150.0, "240"])["position"].tolist() == pytest.approx([0.0, 0.5, 1.0])
    log = NumberConditioner(16, NumberConfig(lowest=60.0, highest=240.0, log=True))
    assert log.prepare([60, 120, 240])["position"].tolist() == pytest.approx([0.0, 0.5, 1.0])


def test_numbers_that_differ_a_little_have_vectors_that_differ(bpm: NumberConditioner) -> None:
    found = vectors(bpm, *range(60, 241))
    apart = torch.cdist(found, found) + 10 * torch.eye(len(found))
    assert apart.min() > 1e-3


def test_dropped_is_the_same_as_not_given(bpm: NumberConditioner) -> None:
    found = vectors(bpm, 120, None, math.nan, "", 120, drop=[False, False, False, False, True])
    assert torch.isfinite(found).all()
    for row in found[1:]:
        assert torch.equal(row, bpm.null)
    assert not torch.allclose(found[0], bpm.null)


def test_every_weight_gets_a_gradient_whatever_is_given(bpm: NumberConditioner) -> None:
    for value in (120, None):
        bpm.zero_grad()
        vectors(bpm, value).square().sum().backward()
        assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in bpm.parameters())


def test_numbers_outside_the_range_are_taken_counted_and_logged_once(
    bpm: NumberConditioner, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = vectors(bpm, 300, 30, 120)
        vectors(bpm, 999)
    assert torch.isfinite(found).all()
    assert bpm.num_outside == 3
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "the number 300 lies outside the range of its condition, 60 to 240"
    ]


@pytest.mark.parametrize("value", ["fast", True, math.inf, "inf", [120], {"bpm": 1}])
def test_what_is_no_number_is_refused(bpm: NumberConditioner, value: Any) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        bpm.prepare([120, value])


def test_a_logarithm_needs_numbers_above_zero() -> None:
    log = NumberConditioner(16, NumberConfig(lowest=1.0, highest=2.0, log=True))
    with pytest.raises(ValueError, match="not above 0"):
        log.prepare([0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"lowest": 1.0, "highest": 1.0},
        {"lowest": 0.0, "highest": math.inf},
        {"lowest": math.nan, "highest": 1.0},
        {"lowest": 0.0, "highest": 1.0, "log": True},
    ],
)
def test_ranges_without_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="lowest"):
        NumberConfig(**wrong)
