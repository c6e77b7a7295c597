"""Which codec a name, a folder, a file or a repository is, what is none, and that every door leads to the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_cache import make_cache

from latentune.core.errors import CheckpointError
from latentune.generators.load import generator_class, load_generator
from latentune.tokenizers.base import AudioTokenizer
from latentune.tokenizers.cards import OFFICIAL_CARDS
from latentune.tokenizers.load import load_official, load_tokenizer, tokenizer_class
from latentune.tokenizers.melcodec import MelCodec
from latentune.tokenizers.taae import TAAE


@pytest.mark.parametrize("name", OFFICIAL_CARDS)
def test_a_hub_id_without_a_hub_is_a_clear_error(name: str) -> None:
    card = OFFICIAL_CARDS[name]
    for load in (load_tokenizer, load_official, tokenizer_class(card.class_name).from_pretrained):
        for place in (name, card.place):
            with pytest.raises(
                CheckpointError, match=f"{card.place} from the hub: HF_HUB_OFFLINE=1 is set.*hf download"
            ):
                load(place)


@pytest.fixture
def saved(tiny_taae: TAAE, tmp_path: Path) -> Path:
    tiny_taae.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


DOORS: list[Callable[..., AudioTokenizer]] = [
    load_tokenizer,
    load_official,
    TAAE.from_pretrained,
    TAAE.from_official,
    AudioTokenizer.from_pretrained,
]


@pytest.mark.parametrize("door", DOORS)
def test_a_saved_tokenizer_loads_by_every_door(
    door: Callable[..., AudioTokenizer], saved: Path, tiny_taae: TAAE, tmp_path: Path
) -> None:
    weights = next(saved.glob("*.safetensors"))
    make_cache(tmp_path, "owner/name", {path.name: path for path in saved.iterdir()})
    make_cache(tmp_path, "owner/parts", {f"sub/{path.name}": path for path in saved.iterdir()}, revision="v1")
    places: list[tuple[Any, dict[str, Any]]] = [
        (saved, {}),
        (str(saved), {}),
        (saved / "config.json", {}),
        (weights, {}),
        (saved.parent, {"subfolder": "saved"}),
        ("owner/name", {"cache_dir": tmp_path}),
        ("owner/name", {"cache_dir": tmp_path, "local_files_only": True, "token": "x", "device_map": "cpu"}),
        ("owner/parts", {"cache_dir": tmp_path, "subfolder": "sub", "revision": "v1"}),
    ]
    for place, options in places:
        assert door(place, **options).fingerprint() == tiny_taae.fingerprint()
    assert door(saved, torch_dtype=torch.bfloat16, device_map={"": "cpu"}).dtype == torch.bfloat16
    with pytest.raises(CheckpointError, match=r"owner/parts from the hub: .* has revision .*v1"):
        door("owner/parts", cache_dir=tmp_path, subfolder="sub")


def test_the_dtype_in_which_weights_are_loaded_does_not_change_the_fingerprint(
    saved: Path, tiny_taae: TAAE, tmp_path: Path
) -> None:
    for options in ({"torch_dtype": "float16"}, {"torch_dtype": torch.bfloat16}, {"precision": "bf16"}):
        rounded = load_tokenizer(saved, **options)  # type: ignore[arg-type]
        assert rounded.dtype != torch.float32
        assert rounded.fingerprint() == tiny_taae.fingerprint()
        rounded.save_pretrained(tmp_path / "rounded")
        assert load_tokenizer(tmp_path / "rounded").fingerprint() == tiny_taae.fingerprint()
        twice = load_tokenizer(tmp_path / "rounded", torch_dtype="float16")
        assert twice.fingerprint() == tiny_taae.fingerprint()
        with torch.no_grad():
            next(rounded.parameters()).add_(1)
        assert rounded.fingerprint() != tiny_taae.fingerprint()
    rounded.save_pretrained(saved)
    assert load_tokenizer(saved).fingerprint() == rounded.fingerprint()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_converting_afterwards_does_not_change_the_fingerprint(saved: Path, dtype: torch.dtype) -> None:
    loaded = load_tokenizer(saved, torch_dtype=dtype)
    method = {torch.float16: "half", torch.bfloat16: "bfloat16"}[dtype]
    for converted in (load_tokenizer(saved).to(dtype), getattr(load_tokenizer(saved), method)()):
        assert converted.dtype == dtype
        assert converted.fingerprint() == loaded.fingerprint() == load_tokenizer(saved).fingerprint()


@pytest.mark.parametrize("place", ["stable-codec-speech-16k", "neuphonic/neucodec", "codicodec-mini"])
def test_a_name_of_another_codec_is_not_looked_for(place: str) -> None:
    for load in (MelCodec.from_pretrained, MelCodec.from_official):
        with pytest.raises(CheckpointError, match=rf"{place} is a \w+, not a MelCodec: load it with load_tokenizer"):
            load(place)


def test_code_that_lies_next_to_weights_is_not_run(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = saved / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "_class_name": "strange_module:Codec"}))
    (saved / "strange_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    monkeypatch.syspath_prepend(saved)
    for load in (load_tokenizer, load_generator, TAAE.from_pretrained, generator_class("TokenLM").from_pretrained):
        with pytest.raises(CheckpointError, match="strange_module, which lies next to it"):
            load(saved)
    assert not (tmp_path / "ran").exists()


def test_a_name_loads_by_its_class() -> None:
    assert MelCodec.from_pretrained("melcodec-speech").fingerprint() == load_tokenizer("melcodec-speech").fingerprint()


@pytest.mark.parametrize(("file", "family"), [("codicodec.pt", "CoDiCodec"), ("model_config.json", "TAAE")])
def test_official_weights_are_known_by_their_files(
    file: str, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / file).write_text("")
    monkeypatch.setattr(tokenizer_class(family), "from_official", lambda path, **options: (path, options))
    for place in (tmp_path, tmp_path / file):
        assert load_official(place, config=1) == (str(place), {"config": 1})
    (tmp_path / "renamed").mkdir()
    assert load_official(tmp_path / "renamed", family) == (str(tmp_path / "renamed"), {})


def test_a_renamed_pickle_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_class("CoDiCodec"), "from_official", lambda path, **options: path)
    torch.save({"gen_state_dict": {}}, tmp_path / "mine.pt")
    assert load_tokenizer(tmp_path / "mine.pt") == str(tmp_path / "mine.pt")
    torch.save({"state": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt has no config\.json of a saved tokenizer"):
        load_tokenizer(tmp_path / "other.pt")


def test_official_weights_of_an_unknown_codec_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"codicodec\.pt, model_config\.json, pytorch_model\.bin"):
        load_official(tmp_path)
    for absent in (tmp_path / "absent", tmp_path / "pytorch_model.bin"):
        with pytest.raises(CheckpointError, match=f"there is no file or folder '{absent}', nor a tokenizer"):
            load_official(absent)
    with pytest.raises(CheckpointError, match=r"cannot fetch config\.json of someone/codec from the hub"):
        load_official("someone/codec")
    with pytest.raises(ValueError, match="did you mean 'TAAE'"):
        load_official(tmp_path, "TAEE")


def test_what_is_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nor a tokenizer of that name; did you mean 'neucodec'"):
        load_tokenizer("neucodc")
    with pytest.raises(CheckpointError, match="codicodec-mini"):
        load_tokenizer("folder/weights.safetensors")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_tokenizer(tmp_path)
    with pytest.raises(CheckpointError, match="holds no MelCodec that save_pretrained wrote"):
        MelCodec.from_pretrained(tmp_path)
    for content in ("{}", "[1]", "{"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match="not the config of a tokenizer"):
            load_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "Codec"}))
    with pytest.raises(ValueError, match="no tokenizer class 'Codec'"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"presision": "bf16"}, "no option presision"),
        ({"semantic": "x"}, r"TAAE\.from_official has no option semantic"),
        ({"revison": "x"}, "no option revison: did you mean 'revision'"),
    ],
)
def test_wrong_options_of_official_weights(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "model_config.json").write_text("{}")
    with pytest.raises(TypeError, match=message):
        load_tokenizer(tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"torch_dtype": "fp16"}, "torch_dtype is 'fp16': pass torch.float32"),
        ({"torch_dtype": torch.int8}, "torch_dtype is torch.int8"),
        ({"device_map": {"encoder": "cpu", "decoder": "cuda"}}, "device_map names parts .*encoder, decoder"),
        ({"device_map": 0}, "no CUDA device available"),
        ({"device": "cpu", "device_map": "cpu"}, "device and device_map say the same"),
        ({"precision": "fp32", "torch_dtype": torch.float32}, "precision and torch_dtype say the same"),
    ],
)
def test_wrong_values_of_options(options: dict[str, Any], message: str, saved: Path) -> None:
    if torch.cuda.is_available() and options == {"device_map": 0}:
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=message):
        load_tokenizer(saved, **options)


def test_half_precision_stays_near() -> None:
    audio = 0.1 * torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
    whole, half = load_tokenizer("melcodec-speech"), load_tokenizer("melcodec-speech", precision="bf16")
    assert half.dtype == torch.bfloat16
    expected, encoded = whole.encode(audio, 16_000), half.encode(audio, 16_000)
    torch.testing.assert_close(encoded.latents.float(), expected.latents, atol=0.1, rtol=0)
    played = half.decode_encoded(encoded)
    assert (played.dtype, played.isfinite().all()) == (torch.float32, True)


def test_the_automatic_precision_of_a_cpu_is_fp32() -> None:
    assert load_tokenizer("melcodec-speech", device="cpu", precision="auto").dtype == torch.float32


def test_unknown_devices_and_precisions_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown precision 'half'"):
        load_tokenizer("melcodec-speech", precision="half")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        load_tokenizer("melcodec-speech", device="gpu")
    with pytest.raises(ValueError, match="fp16 needs a GPU"):
        load_tokenizer("melcodec-speech", precision="fp16")
