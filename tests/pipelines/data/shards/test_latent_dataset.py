"""The reader: items, filters, statistics, what padding is made of, and every way a dataset can be broken."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.utils.data import DataLoader

from latentune.core.errors import DatasetError, MismatchError
from latentune.pipelines.data.shards import LatentDataset, ShardSettings, dataset_binding
from latentune.pipelines.data.shards.index import finalise
from latentune.pipelines.data.shards.plan import PlannedItem
from latentune.pipelines.data.shards.read import check_tokenizer
from latentune.pipelines.data.shards.shard import EncodedItem, ShardFile, write_shard
from latentune.pipelines.data.shards.statistics import latent_statistics

IDENTITY = {"fingerprint": "f", "job": "j", "content": "c"}


@pytest.fixture
def folder(encode, corpus, tmp_path):
    encode(source=str(corpus / "manifest.jsonl"))
    return tmp_path / "dataset"


def test_shards_are_plain_safetensors(folder):
    path = folder / "shards" / "00000.safetensors"
    shard = ShardFile(path)
    with safe_open(path, "np") as file:
        assert set(file.keys()) == {
            *("latents", "latent_offsets", "tokens", "token_offsets", "meta", "meta_offsets"),
        }
        assert file.get_tensor("latents").dtype == np.float16
        assert file.get_tensor("tokens").dtype == np.uint16
        for name in file.keys():  # noqa: SIM118 (a safe_open is not a dict)
            np.testing.assert_array_equal(file.get_tensor(name), shard.array(name))


def test_spec_binding_and_tokenizer_check(folder, codec, make_codec):
    dataset = LatentDataset(folder)
    assert dataset.spec == codec.spec
    assert dataset.info["tokenizer"]["licence"] == "CC0-1.0"
    binding = dataset_binding(dataset)
    assert (binding.spec, binding.fingerprint) == (codec.spec, codec.fingerprint())
    check_tokenizer(dataset, codec)
    with pytest.raises(MismatchError, match="was encoded with FakeCodec"):
        check_tokenizer(dataset, make_codec(scale=1.0))


def test_statistics_are_those_of_all_frames(folder):
    dataset = LatentDataset(folder)
    frames = torch.cat([item.latents for item in dataset]).double()
    torch.testing.assert_close(torch.tensor(dataset.latent_mean), frames.mean(0).float(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.tensor(dataset.latent_std), frames.std(0, correction=0).float(), rtol=1e-6, atol=0)


def test_statistics_hold_far_from_zero(tmp_path, make_codec):
    spec, settings = make_codec().spec, ShardSettings(dtype="float32", streams=("latents",))
    latents = 1000 + torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    shards = []
    for number, part in enumerate(latents.split([1000, 0, 3000])):
        item = PlannedItem(shard=number, id=str(number), path="x", start_s=0, duration_s=1, total_s=1, sample_rate=1)
        entry = EncodedItem(item=item, latents=part, tokens=None, num_samples=1)
        path = tmp_path / f"{number}.safetensors"
        write_shard(path, number, [entry], [], spec=spec, settings=settings, identity=IDENTITY)
        shards.append(ShardFile(path))
    mean, std = latent_statistics(shards)
    np.testing.assert_allclose(mean, latents.double().mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, latents.double().std(0, correction=0), rtol=1e-9)


def test_constant_channels_do_not_make_a_zero_std(folder):
    dataset = LatentDataset(folder)
    dataset.info["latent_std"] = [0.0, 1.0, 2.0]
    assert dataset_binding(dataset).latent_std == (1e-4, 1.0, 2.0)


def test_where_and_indices(folder):
    dataset, some = LatentDataset(folder), LatentDataset(folder, where={"label": "b"})
    assert [i.id for i in some] == [i.id for i in dataset if i.metadata["label"] == "b"]
    assert 0 < len(some) < len(dataset)
    assert len(LatentDataset(folder, where={"label": ["a", "b"]})) == len(dataset)
    assert dataset[-1].id == dataset[len(dataset) - 1].id
    for index in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError):
            dataset[index]


def test_items_are_copies_and_workers_can_read_them(folder):
    dataset = LatentDataset(folder)
    first = dataset[0].latents.clone()
    dataset[0].latents.zero_()
    assert torch.equal(dataset[0].latents, first)
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[0].latents, first)
    loader = DataLoader(dataset, batch_size=None, num_workers=1)
    assert [item.id for item in loader] == [item.id for item in dataset]


def test_silence_is_one_chunk_of_what_the_codec_gives_for_zeros(folder, codec):
    silence = LatentDataset(folder).silence
    want = codec.encode(torch.zeros(1, 2, 8000), 8000)
    torch.testing.assert_close(silence.latents, want.latents[0, 4:8], rtol=1e-3, atol=1e-3)
    assert torch.equal(silence.tokens, want.tokens[0, 2:4])


def test_dataset_opens_while_it_is_being_encoded(encode_a_part, tmp_path, caplog):
    encode_a_part(num_shards=2)
    dataset = LatentDataset(tmp_path / "dataset")
    assert "is not complete" in caplog.text
    assert not dataset.complete
    assert all(torch.isfinite(item.latents).all() for item in dataset)
    assert len(dataset.latent_mean) == 3


def test_empty_shard_can_be_read(tmp_path, codec):
    path = tmp_path / "00000.safetensors"
    write_shard(path, 0, [], [], spec=codec.spec, settings=ShardSettings(), identity=IDENTITY)
    assert ShardFile(path).num_items == 0
    assert latent_statistics([ShardFile(path)]) == ((), ())


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def _cut_header(path):
    path.write_bytes(path.read_bytes()[:20])


def _garble_header(path):
    data = bytearray(path.read_bytes())
    data[20:40] = b"\xff" * 20
    path.write_bytes(data)


def _remove(path):
    path.unlink()


def _foreign(path):
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3)}, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "its header says"),
        (_cut_header, "truncated"),
        (_garble_header, "corrupt or not a shard"),
        (_remove, "is missing: run encode again"),
        (_foreign, "corrupt or not a shard"),
    ],
)
def test_damaged_shard_is_named_with_what_to_do(folder, damage, message):
    shard = folder / "shards" / "00001.safetensors"
    damage(shard)
    with pytest.raises(DatasetError, match=message) as caught:
        LatentDataset(folder)
    assert str(shard) in str(caught.value)
    assert "encode again" in str(caught.value)


def test_offsets_that_do_not_fit_are_noticed(folder):
    shard = folder / "shards" / "00001.safetensors"
    data = bytearray(shard.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    data[begin + 8] ^= 0xFF  # the tensors of 64 bits, which are the offsets, come first
    shard.write_bytes(data)
    dataset = LatentDataset(folder)  # it is mapped when it is first read
    with pytest.raises(DatasetError, match="offsets do not fit"):
        dataset[len(dataset) - 1], [item.id for item in dataset]


def test_what_is_not_a_dataset(folder, tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        LatentDataset(tmp_path / "nothing")
    with pytest.raises(DatasetError, match=r"holds no dataset\.json"):
        LatentDataset(folder / "shards")
    info = json.loads((folder / "dataset.json").read_text())
    for changed, message in [
        ({**info, "version": 99}, "newer than this program"),
        ({**info, "format": "other"}, "not the description of a latent dataset"),
        ({key: info[key] for key in ("format", "version")}, "is not complete"),
        ([], "is corrupt"),
    ]:
        (folder / "dataset.json").write_text(json.dumps(changed))
        with pytest.raises(DatasetError, match=message):
            LatentDataset(folder)


def test_silence_that_is_missing_or_foreign(folder):
    silence = folder / "silence.safetensors"
    shutil.copy(folder / "shards" / "00000.safetensors", silence)
    with pytest.raises(DatasetError, match="does not fit the dataset's codec"):
        _ = LatentDataset(folder).silence
    silence.unlink()
    with pytest.raises(DatasetError, match="missing or corrupt"):
        _ = LatentDataset(folder).silence


def test_metadata_called_like_our_columns_keeps_its_own(encode, corpus, tmp_path):
    (corpus / "clash.jsonl").write_text(json.dumps({"path": "a.wav", "id": "theirs", "duration_s": "long"}) + "\n")
    encode(source=str(corpus / "clash.jsonl"))
    (corpus / "clash.jsonl").unlink()
    import pyarrow.parquet

    row = pyarrow.parquet.read_table(tmp_path / "dataset" / "index.parquet").to_pylist()[0]
    assert (row["id"], row["metadata_id"], row["metadata_duration_s"]) == ("a.wav", "theirs", "long")
    assert LatentDataset(tmp_path / "dataset")[0].metadata == {"id": "theirs", "duration_s": "long"}


def test_finalising_again_changes_nothing(folder, read_tree):
    from latentune.pipelines.data.shards import Plan

    before = read_tree(folder)
    dataset = LatentDataset(folder)
    finalise(folder, dataset.info, Plan.read(folder / "plan.parquet", folder / "sources.parquet"), dataset.shards)
    assert read_tree(folder) == before
