from pathlib import Path

import numpy as np
import pytest
from compared_sets import ALL, Tagger, embeddings_of, run, values, write

from latentune.pipelines.measure.sets.cache import EmbeddingCache


@pytest.mark.parametrize("settings", [{"num_threads": 0}, {"num_threads": 7}], ids=str)
def test_the_number_of_threads_does_not_matter(sets: tuple[Path, Path, Path], settings: dict[str, int]) -> None:
    assert values(run(*sets, metrics=ALL, **settings)) == values(run(*sets, metrics=ALL))


def test_batches_and_embeddings_per_window_keep_files_apart(sets: tuple[Path, Path, Path]) -> None:
    expected = run(*sets, metrics=ALL, embedder=Tagger(embeddings_per_window=2), batch_size=1)
    found = run(*sets, metrics=ALL, embedder=Tagger(embeddings_per_window=2), batch_size=13)
    assert values(found) == pytest.approx(values(expected), rel=1e-4)
    assert found.facts["generated"]["num_windows"] == 2 * run(*sets).facts["generated"]["num_windows"]


def test_cached_embeddings_stand_for_the_audio(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    cache = {"cache_dir": str(tmp_path / "cache")}
    expected, embedder = run(*sets), Tagger()
    assert values(run(*sets, embedder=embedder, **cache)) == values(expected)
    assert embedder.num_embedded == sum(len(each) for folder in sets for each in embeddings_of(folder).values())
    kept = sorted((tmp_path / "cache").rglob("*.safetensors"))
    assert len(kept) == 24
    (sets[1] / "0.wav").rename(sets[1] / "renamed.wav")  # the content is the same
    again = Tagger()
    run(*sets, embedder=again, **cache)
    assert again.num_embedded == 0
    for other in (Tagger(seed=1), again):
        run(*sets, embedder=other, max_duration_s=0.3, **cache)
        assert other.num_embedded > 0, "another embedder, or another part of the audio"
    kept[0].write_bytes(b"damaged")
    repaired = Tagger()
    # other windows share a batch now
    assert values(run(*sets, embedder=repaired, **cache)) == pytest.approx(values(expected), rel=1e-5)
    assert 0 < repaired.num_embedded < 20
    run(*sets, cache_gb=1e-6, **cache)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.safetensors")) <= 1000


def test_the_cache_lets_the_longest_unused_go_first(tmp_path: Path) -> None:
    import os

    from latentune.pipelines.measure.sets.cache import Embedded

    cache = EmbeddingCache(tmp_path)
    keys = [cache.key(str(number), {}, None) for number in range(3)]
    for number, key in enumerate(keys):
        cache.put(key, Embedded(embeddings=np.full((2, 3), number, np.float32), silent=True))
        os.utime(tmp_path / key[:2] / f"{key}.safetensors", (number, number))
    found = cache.get(keys[0])  # used now
    assert found is not None
    assert found.silent
    assert not found.repeated
    assert found.embeddings.tolist() == [[0.0] * 3] * 2
    size = (tmp_path / keys[0][:2] / f"{keys[0]}.safetensors").stat().st_size
    assert cache.prune(2 * size) == 1
    assert [cache.get(key) is None for key in keys] == [False, True, False]
    assert cache.prune(2 * size) == 0


def test_a_shard_dataset_is_decoded_by_its_tokenizer(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    from latentune.pipelines.decode import DecodeConfig, decode_dataset
    from latentune.pipelines.encode import EncodeConfig, encode_dataset

    small = write(tmp_path / "small", 1)
    encode_dataset(
        EncodeConfig(source=str(small), output=str(tmp_path / "data"), tokenizer="codicodec-mini", device="cpu")
    )
    decode_dataset(DecodeConfig(dataset=str(tmp_path / "data"), output=str(tmp_path / "decoded"), subtype="FLOAT"))
    expected = run(sets[0], tmp_path / "decoded")
    found = run(sets[0], tmp_path / "data", cache_dir=str(tmp_path / "cache"))
    assert found.value == pytest.approx(expected.value, rel=1e-4)
    embedder = Tagger()
    assert run(sets[0], tmp_path / "data", cache_dir=str(tmp_path / "cache"), embedder=embedder).value == found.value
    assert embedder.num_embedded == 0
