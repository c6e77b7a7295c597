import pytest

from latentune.pipelines.measure.results import pair_names


def test_files_pair_by_name_without_their_suffix() -> None:
    found = pair_names(["a/x.wav", "b.flac", "c.x/d"], ["b.wav", "a/x.mp3", "e"])
    assert found.pairs == [(0, 1), (1, 0)]
    assert found.alone == (["c.x/d"], ["e"])
    assert found.unclear == ([], [])


@pytest.mark.parametrize(
    ("first", "second", "pairs", "unclear"),
    [
        (["x.flac", "x.wav"], ["x.wav"], [(1, 0)], (["x.flac"], [])),  # equal names rather than the first of a stem
        (["x.flac", "x.wav"], ["x.mp3"], [], (["x.flac", "x.wav"], ["x.mp3"])),
        (["x.wav"], ["x.flac", "x.mp3"], [], (["x.wav"], ["x.flac", "x.mp3"])),
        (["x.wav", "x.wav"], ["x.wav", "x.wav"], [(0, 0), (1, 1)], ([], [])),  # rows of one file
        (["x.wav", "y.wav", "x.wav"], ["x.flac", "y.wav"], [(0, 0), (1, 1), (2, 0)], ([], [])),
        (["x.wav"], ["x.wav", "x.wav"], [(0, 0)], ([], [])),
    ],
)
def test_files_of_one_name_pair_where_it_is_clear(
    first: list[str], second: list[str], pairs: list[tuple[int, int]], unclear: tuple[list[str], list[str]]
) -> None:
    found = pair_names(first, second)
    assert (found.pairs, found.unclear) == (pairs, unclear)
    assert found.alone == ([], [])
