"""`encode_dataset`: what goes in comes out, what cannot is listed, and a re-run changes nothing."""

import json

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
import torch

from latentune.core.config import build_config
from latentune.core.errors import AudioError, ConfigError, DatasetError, MismatchError
from latentune.pipelines.data.audio import read_audio, resample, select_channels
from latentune.pipelines.data.shards import LatentDataset
from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig

BROKEN = {
    "garbage.wav": "cannot be decoded",
    "short.wav": "shorter than min_duration_s",
    "silent.wav": "is silent",
    "nan.wav": "NaN or inf",
    "empty.wav": "is an empty file",
    "breaks_codec.wav": "the codec gave latents with NaN",
    "missing.wav": "no such file",
}


def test_every_item_is_what_the_codec_gives_for_its_part(encode, corpus, codec, tmp_path):
    summary = encode()
    dataset = LatentDataset(tmp_path / "dataset")
    assert summary.complete
    assert summary.num_items == len(dataset) == 9
    assert [item.id for item in dataset] == [
        *("a.wav", "b.flac#0", "b.flac#1", "b.flac#2", "d.wav", "e.wav#0", "e.wav#1", "f.wav", "sub/c.ogg")
    ]
    for index, item in enumerate(dataset):
        meta = dataset.meta(index)
        length_s = 1.0 if item.id in ("b.flac#0", "b.flac#1", "e.wav#0") else None
        audio, rate = read_audio(corpus / meta["path"], start_s=item.seconds_start, duration_s=length_s)
        audio = resample(select_channels(audio, 2), rate, 8000)
        want = codec.encode(audio[None], 8000)
        assert item.num_samples == audio.shape[-1]
        assert item.duration_s == item.num_samples / 8000
        torch.testing.assert_close(item.latents, want.latents[0], rtol=1e-3, atol=2e-3)
        assert torch.equal(item.tokens, want.tokens[0])
        assert item.latents.dtype == torch.float32
        assert item.tokens.dtype == torch.int64


def test_long_files_are_split_and_their_times_kept(encode, tmp_path):
    encode()
    items = {item.id: item for item in LatentDataset(tmp_path / "dataset")}
    pieces = [items[f"b.flac#{n}"] for n in range(3)]
    assert [p.seconds_start for p in pieces] == pytest.approx([0.0, 1.0, 2.0])
    assert [p.duration_s for p in pieces] == pytest.approx([1.0, 1.0, 0.35])
    assert all(p.seconds_total == pytest.approx(2.35) for p in pieces)


def test_manifest_columns_reach_the_index(encode, corpus, tmp_path):
    encode(source=str(corpus / "manifest.jsonl"))
    table = pyarrow.parquet.read_table(tmp_path / "dataset" / "index.parquet").to_pydict()
    assert table["id"][:3] == ["a.wav", "b.flac#0", "b.flac#1"]
    assert table["text"][1] == "text of b.flac"
    assert table["tags"][1] == ["x", "b.flac"]
    assert set(table["shard"]) == set(range(max(table["shard"]) + 1))
    item = LatentDataset(tmp_path / "dataset")[1]
    assert item.metadata == {"text": "text of b.flac", "label": "b", "tags": ["x", "b.flac"]}


def test_whatever_cannot_be_encoded_is_listed_with_its_reason(encode, corpus, tmp_path):
    summary = encode(source=str(corpus / "manifest.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "dataset" / "failed.jsonl").read_text().splitlines()]
    reasons = {line["path"]: line["reason"] for line in lines}
    assert summary.num_failed == len(lines) == len(BROKEN)
    assert {f.path: f.reason for f in summary.failures} == reasons
    for name, reason in BROKEN.items():
        assert reason in reasons[name]
        assert str(corpus) not in reasons[name]


def test_strict_fails_at_the_end_but_keeps_the_dataset(encode, tmp_path):
    with pytest.raises(AudioError, match=r"6 items could not be encoded \(strict\)"):
        encode(strict=True)
    assert LatentDataset(tmp_path / "dataset").complete


def test_error_if_nothing_can_be_encoded(encode, corpus, tmp_path):
    with pytest.raises(AudioError, match=r"nothing could be encoded .*garbage.wav: cannot be decoded"):
        encode(source=str(corpus / "garbage.wav"))
    assert not (tmp_path / "dataset").exists()
    with pytest.raises(AudioError, match=r"nothing could be encoded: silent\.wav: is silent"):
        encode(source=str(corpus / "silent.wav"))
    assert len(LatentDataset(tmp_path / "dataset")) == 0


def test_running_again_encodes_nothing_and_changes_nothing(encode, codec, tmp_path, read_tree):
    encode()
    before, calls = read_tree(tmp_path / "dataset"), len(codec.calls)
    summary = encode()
    assert read_tree(tmp_path / "dataset") == before
    assert len(codec.calls) == calls
    assert (summary.num_shards_encoded, summary.num_items, summary.num_failed) == (0, 9, 6)


@pytest.mark.parametrize("victim", ["shards/00001.safetensors", "index.parquet", "failed.jsonl", "silence.safetensors"])
def test_what_is_missing_is_made_again_the_same(encode, tmp_path, read_tree, victim):
    encode()
    before = read_tree(tmp_path / "dataset")
    (tmp_path / "dataset" / victim).unlink()
    encode()
    assert read_tree(tmp_path / "dataset") == before


def test_threads_and_place_change_no_byte_of_the_shards(encode, tmp_path, read_tree):
    encode()
    encode("elsewhere/deep", num_threads=4)
    assert read_tree(tmp_path / "elsewhere/deep") == read_tree(tmp_path / "dataset")


def test_batches_hold_similar_lengths_within_the_budget(encode, codec):
    encode(batch_s=1.6, shard_hours=1.0)
    encoded = codec.calls[1:]  # the first is the silence
    assert len(encoded) < 9
    whole = codec.spec.chunk_samples
    assert all(batch == 1 or batch * codec.spec.num_chunks(n) * whole <= 1.6 * 8000 for batch, _, n in encoded)


def test_progress_reaches_the_end(encode):
    seen = []
    summary = encode(progress=lambda p: seen.append((p.phase, p.items_done, p.items_total, p.num_failed, p.audio_s)))
    assert seen[0][:3] == ("probe", 1, None)
    assert ("probe", 12, None) in [state[:3] for state in seen]
    assert seen[-1][:4] == ("encode", 12, 12, 6)
    assert seen[-1][4] == pytest.approx(summary.hours * 3600)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float32"}, 'dtype was "float16", is now "float32"'),
        ({"max_duration_s": 2.0}, "max_duration_s was 1.0, is now 2.0"),
        ({"streams": ("tokens",)}, "streams was"),
        ({"loudness_lufs": -20.0}, "loudness_lufs was null"),
    ],
)
def test_other_settings_are_refused(encode, tmp_path, read_tree, options, message):
    encode()
    before = read_tree(tmp_path / "dataset")
    with pytest.raises(MismatchError, match=message):
        encode(**options)
    assert read_tree(tmp_path / "dataset") == before


def test_other_tokenizer_is_refused(encode, make_codec):
    encode()
    with pytest.raises(MismatchError, match="the tokenizer was FakeCodec"):
        encode(tokenizer=make_codec(scale=4.0))


def test_shards_of_another_job_are_not_taken_for_ours(encode, tmp_path):
    encode()
    for name in ("dataset.json", "index.parquet", "failed.jsonl"):
        (tmp_path / "dataset" / name).unlink()
    with pytest.raises(MismatchError, match="another plan or tokenizer"):
        encode(dtype="float32")


def test_folder_with_other_files_is_left_alone(encode, tmp_path, read_tree):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "thesis.txt").write_text("precious")
    with pytest.raises(DatasetError, match=r"holds other files, such as thesis.txt"):
        encode()
    assert read_tree(tmp_path / "dataset") == {"thesis.txt": b"precious"}
    with pytest.raises(DatasetError, match="it is a file"):
        encode("dataset/thesis.txt")


def test_corrupt_shard_stops_the_run_with_its_name(encode, tmp_path):
    encode()
    shard = tmp_path / "dataset" / "shards" / "00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(DatasetError, match=r"00002.safetensors .*delete it and run encode again"):
        encode()


def test_full_disk_leaves_nothing_half_written(encode, tmp_path, monkeypatch, read_tree):
    encode("whole")

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        encode()
    assert read_tree(tmp_path / "dataset") == {}
    monkeypatch.undo()
    encode()
    assert read_tree(tmp_path / "dataset") == read_tree(tmp_path / "whole")


@pytest.mark.parametrize("stream", ["latents", "tokens"])
def test_one_stream_alone(encode, tmp_path, stream):
    encode("both", dtype="float32")
    encode(streams=(stream,), dtype="float32")
    both, alone = LatentDataset(tmp_path / "both"), LatentDataset(tmp_path / "dataset")
    other = "tokens" if stream == "latents" else "latents"
    for a, b in zip(both, alone, strict=True):
        assert torch.equal(getattr(a, stream), getattr(b, stream))
        assert getattr(b, other) is None
    assert alone.latent_mean == (both.latent_mean if stream == "latents" else ())


def test_float32_is_exact_and_loudness_is_recorded(encode, codec, corpus, tmp_path):
    encode(dtype="float32", loudness_lufs=-30.0, source=str(corpus / "a.wav"))
    dataset = LatentDataset(tmp_path / "dataset")
    meta = dataset.meta(0)
    audio, rate = read_audio(corpus / "a.wav")
    scaled = select_channels(audio, 2) * 10 ** (meta["gain_db"] / 20)
    want = codec.encode(resample(scaled, rate, 8000)[None], 8000).latents[0]
    torch.testing.assert_close(dataset[0].latents, want, rtol=0, atol=1e-5)
    assert meta["loudness_lufs"] + meta["gain_db"] == pytest.approx(-30.0)


def test_channel_policy_reaches_the_files(encode, corpus):
    assert encode("one").num_items == 9
    summary = encode("two", channels="error")
    assert 0 < summary.num_items < 9
    assert any("1 channels, 2 required" in failure.reason for failure in summary.failures)


def test_odd_audio_is_encoded_and_counted(encode, tmp_path, caplog):
    rng = np.random.default_rng(0)
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        soundfile.write(folder / name, 13107 * rng.uniform(-1, 1, 8000), 8000, subtype="FLOAT")
    soundfile.write(folder / "surround.wav", rng.uniform(-0.5, 0.5, (8000, 6)), 8000)
    soundfile.write(folder / "fine.wav", rng.uniform(-0.5, 0.5, (8000, 2)), 8000)
    soundfile.write(folder / "slow.wav", rng.uniform(-0.5, 0.5, 100), 200)
    encode(source=str(folder))
    warnings = {record.getMessage() for record in caplog.records if "concerns" in record.name}
    assert {text.rpartition(" ")[0] for text in warnings} == {
        "2 recordings have a peak above 10 (full scale is 1), such as",
        "1 recordings have a sample rate outside of 1000 to 1000000 Hz, such as",
        "1 recordings have more than 2 channels, such as",
    }


def test_config_is_refused_where_it_makes_no_sense():
    good = {"source": "x", "output": "y"}
    assert build_config(EncodeConfig, {**good, "streams": ["tokens"]}).streams == ("tokens",)
    for wrong, message in [
        ({"max_duration": 3}, "did you mean 'max_duration_s'"),
        ({"min_duration_s": 40.0}, "at most half of max_duration_s"),
        ({"streams": ["audio"]}, "streams must be one or both of"),
        ({"streams": []}, "streams must be one or both of"),
        ({"dtype": "float8"}, "allowed: 'float16', 'float32'"),
        ({"shard_mb": 0}, "must be positive"),
        ({"loudness_lufs": 14.0}, "negative numbers"),
        ({"batch_s": 0.0}, "batch_s must be above 0"),
        ({"num_processes": 0}, "num_processes must be at least 1"),
        ({"tokenizer_options": {"torch_dtype": "bfloat16"}}, "hold torch_dtype: set precision and device of encode"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build_config(EncodeConfig, {**good, **wrong})


def test_options_that_the_codec_does_not_have_are_refused_before_the_work(encode, tmp_path):
    with pytest.raises(ConfigError, match=r"encode has no option chunk: known: none"):
        encode(encode_options={"chunk": 1.0})
    options = {"tokenizer_options": {"semantik": "x"}, "tokenizer": "melcodec-music"}
    with pytest.raises(TypeError, match="has no option semantik"):
        encode_dataset(EncodeConfig(source=str(tmp_path), output=str(tmp_path / "out"), **options))
    with pytest.raises(ValueError, match="fp16 needs a GPU"):
        encode_dataset(EncodeConfig(source=str(tmp_path), output=str(tmp_path / "out"), precision="fp16", device="cpu"))
    assert not (tmp_path / "out").exists()


def test_unknown_device_and_source(encode, corpus):
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        encode(device="gpu")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        encode(source=str(corpus / "nothing"))


def test_unwritable_output(corpus, codec):
    with pytest.raises(OSError, match="/proc"):
        encode_dataset(EncodeConfig(source=str(corpus), output="/proc/nowhere/dataset"), tokenizer=codec)


def test_codicodec_goes_through_and_back(encode, corpus, tmp_path):
    torch.manual_seed(0)
    codec = CoDiCodec(CoDiCodecConfig.tiny()).eval()
    encode(source=str(corpus / "sub"), tokenizer=codec, dtype="float32")
    dataset = LatentDataset(tmp_path / "dataset")
    (item,) = dataset
    audio, rate = read_audio(corpus / "sub" / "c.ogg")
    want = codec.encode(audio[None], rate)
    torch.testing.assert_close(item.latents, want.latents[0], rtol=0, atol=1e-4)
    lengths = torch.tensor([item.num_samples])
    assert codec.decode(latents=item.latents[None], lengths_samples=lengths, steps=1).shape[-1] == item.num_samples
    assert codec.decode(tokens=item.tokens[None], lengths_samples=lengths, steps=1).shape[-1] == item.num_samples


def test_the_number_format_of_the_codec_is_part_of_the_dataset(corpus, tmp_path):
    def encoded(name, precision):
        encode_dataset(
            EncodeConfig(
                source=str(corpus / "a.wav"),
                output=str(tmp_path / name),
                tokenizer="melcodec-speech",
                precision=precision,
                device="cpu",
            )
        )
        return LatentDataset(tmp_path / name)

    whole, half = encoded("whole", "auto"), encoded("half", "bf16")
    assert whole.info["settings"]["compute_dtype"] == "float32"
    assert half.info["settings"]["compute_dtype"] == "bfloat16"
    assert whole.fingerprint == half.fingerprint  # the codec is the same
    assert not torch.equal(whole[0].latents, half[0].latents)
    torch.testing.assert_close(whole[0].latents, half[0].latents, atol=0.2, rtol=0.1)
    with pytest.raises(MismatchError, match='compute_dtype was "bfloat16", is now "float32"'):
        encoded("half", "fp32")
