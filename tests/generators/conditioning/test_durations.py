"""Durations of texts: what is a sum of symbols is found, rare symbols are near the mean, and nothing is random."""

import random

import pytest

from latentune.core.config import build_config, config_to_dict
from latentune.generators.conditioning.durations import DurationModel, fit_durations

TRUE_S = {"a": 0.1, "b": 0.05, "c": 0.2, " ": 0.0}


def corpus(count: int, noise_s: float = 0.0) -> tuple[list[str], list[float]]:
    draw = random.Random(0)
    texts = ["".join(draw.choices("abc ", k=draw.randint(3, 30))) for _ in range(count)]
    return texts, [0.3 + sum(TRUE_S[symbol] for symbol in text) + draw.gauss(0, noise_s) for text in texts]


def test_a_sum_of_symbols_is_found() -> None:
    model = fit_durations("transcript", *corpus(400))
    assert model is not None
    assert model.offset_s == pytest.approx(0.3, abs=0.02)
    assert model.symbol_s == pytest.approx(TRUE_S, abs=0.005)
    assert model.error_s == pytest.approx(0, abs=0.02)
    assert model.seconds_of("abc") == pytest.approx(0.65, abs=0.03)


def test_the_error_is_that_of_items_not_fitted() -> None:
    texts, seconds = corpus(400, noise_s=0.1)
    model = fit_durations("transcript", texts, seconds)
    assert model is not None
    assert model.error_s == pytest.approx(0.08, abs=0.015)  # of a normal distribution: 0.8 standard deviations


def test_few_items_leave_all_symbols_near_the_mean_and_no_error() -> None:
    model = fit_durations("transcript", ["aaaa", "bbbbbbbb"], [1.0, 1.8])
    assert model is not None
    assert model.error_s is None
    assert model.other_s == pytest.approx(0.2)
    assert model.seconds_of("xyzxyz") == pytest.approx(0.2 + 6 * 0.2, abs=0.02)
    (alone,) = [fit_durations("transcript", ["abcd"], [1.0])]
    assert alone is not None
    assert alone.seconds_of("abcd") == pytest.approx(1.0, abs=0.01)


def test_items_without_a_text_are_left_out() -> None:
    texts, seconds = corpus(50)
    assert fit_durations("transcript", [*texts, "", ""], [*seconds, 9.0, 0.1]) == fit_durations(
        "transcript", texts, seconds
    )
    assert fit_durations("transcript", ["", ""], [1.0, 2.0]) is None


def test_a_model_is_the_same_each_time_and_after_saving() -> None:
    model = fit_durations("transcript", *corpus(60, 0.1))
    assert model == fit_durations("transcript", *corpus(60, 0.1))
    assert model == build_config(DurationModel, config_to_dict(model))


def test_speed_divides_and_no_text_is_shorter_than_a_tenth_of_a_second() -> None:
    model = DurationModel(condition="transcript", symbol_s={"a": 0.5, "b": -9.0}, other_s=0.1, offset_s=0.2)
    assert model.seconds_of("a", 2.0) == pytest.approx(0.35)
    assert model.seconds_of("z") == pytest.approx(0.3)
    assert model.seconds_of("ab") == pytest.approx(0.1)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_without_meaning_is_refused(speed: float) -> None:
    model = DurationModel(condition="transcript", symbol_s={}, other_s=0.1, offset_s=0.2)
    with pytest.raises(ValueError, match="speed must be above 0"):
        model.seconds_of("a", speed)
