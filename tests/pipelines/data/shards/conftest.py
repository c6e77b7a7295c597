"""A fake codec, a small folder of audio with some broken files, and a dataset made of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_codec import FakeCodec, FakeCodecConfig

from latentune.pipelines.encode import EncodeConfig, encode_dataset

RATE = 8000
LENGTHS_S = {"a.wav": 0.5, "b.flac": 2.35, "sub/c.ogg": 0.9, "d.wav": 0.31, "e.wav": 1.2, "f.wav": 0.04 * 8}
GOOD = ("a.wav", "b.flac", "d.wav", "e.wav", "f.wav", "sub/c.ogg")
BROKEN = {
    "garbage.wav": "cannot be decoded",
    "short.wav": "shorter than min_duration_s",
    "silent.wav": "is silent",
    "nan.wav": "NaN or inf",
    "empty.wav": "is an empty file",
    "breaks_codec.wav": "the codec gave latents with NaN",
}


@pytest.fixture
def codec():
    return FakeCodec().eval()


@pytest.fixture
def make_codec():
    def make(**config):
        return FakeCodec(FakeCodecConfig(**config)).eval()

    return make


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Six good files, six broken ones, and a manifest of all and of one that is missing."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "sub").mkdir()
    rng = np.random.default_rng(0)
    for number, (name, seconds) in enumerate(LENGTHS_S.items()):
        channels, rate = 1 + number % 2, RATE * (1 + number % 3)
        soundfile.write(folder / name, rng.uniform(-0.5, 0.5, (round(seconds * rate), channels)), rate)
    (folder / "garbage.wav").write_bytes(b"not a wav file" * 50)
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "short.wav", rng.uniform(-0.5, 0.5, 100), RATE)
    soundfile.write(folder / "silent.wav", np.full(RATE, 1e-5), RATE, subtype="FLOAT")
    soundfile.write(folder / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    soundfile.write(folder / "breaks_codec.wav", np.sign(rng.uniform(-1, 1, RATE)), RATE, subtype="FLOAT")
    names = [*LENGTHS_S, *BROKEN, "missing.wav"]
    rows = [{"path": n, "text": f"text of {n}", "label": "ab"[i % 2], "tags": ["x", n]} for i, n in enumerate(names)]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


SMALL = {"max_duration_s": 1.0, "min_duration_s": 0.1, "shard_hours": 1.5 / 3600, "num_threads": 1}


@pytest.fixture
def encode(corpus, codec, tmp_path):
    """Encode the corpus into tmp_path with small items and shards; returns the summary."""

    def run(output="dataset", *, tokenizer=None, progress=None, **options):
        where = output if "://" in output else str(tmp_path / output)
        options = {"source": str(corpus), "output": where, **SMALL, **options}
        return encode_dataset(EncodeConfig(**options), tokenizer=tokenizer or codec, progress=progress)

    return run


@pytest.fixture
def encode_a_part(encode, tmp_path):
    """Encode the corpus until some shards are committed, and stop there."""

    def run(output="dataset", *, num_shards=1, **options):
        def stop(state):
            if len(list((tmp_path / output / "shards").glob("[0-9]*"))) >= num_shards:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            encode(output, progress=stop, **options)

    return run


@pytest.fixture
def read_tree():
    """Relative path -> bytes, of all files below a folder."""

    def read(folder: Path) -> dict[str, bytes]:
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read
