"""Given parts lead to the right piece: the memorised toy of demos/bench, smaller."""

import pytest
from bench_scripts import load_script

from latentune.generators.diffusion import RectifiedFlowConfig


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_known_pieces_are_continued_and_filled_in() -> None:
    toy = load_script("memorised_toy")
    model = toy.train(toy.CONFIG, RectifiedFlowConfig(), toy.pieces(), steps=1200)
    assert toy.share_right(model, toy.TASKS["continued after 1 of 7"], draws=4) >= 0.6
    assert toy.share_right(model, toy.TASKS["continued after 5 of 7"], draws=4) >= 0.95
    assert toy.share_right(model, toy.TASKS["gap of 3 in the middle"], draws=4) >= 0.95
    assert toy.share_right(model, toy.TASKS["two gaps"], draws=4) >= 0.9
    assert toy.share_right(model, toy.TASKS["continued after 3 of 7"], draws=4, chunks=5) >= 0.9
