"""The CLAP score: its arithmetic on given embeddings, and whole on tiny random towers. laion-clap's text is a peer."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_encoders import WORDS, random_clap, save_tokenizer, write_tokenizer
from torch import Tensor

from latentune.core.errors import CheckpointError
from latentune.generators.conditioning.frozen.clap_text import MAX_TOKENS, ClapTextEncoder
from latentune.pipelines.measure.embedders import Embedder, load_embedder
from latentune.pipelines.measure.metrics.adherence import (
    adherence,
    derangement,
    mean_cosine,
)


def noise(num_samples: int, seed: int = 0) -> Tensor:
    return 0.2 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


def official_text_state(model: Any) -> dict[str, Tensor]:
    """The text side of `model` as laion-clap names it."""
    state = {"module.text_branch.embeddings.position_ids": torch.arange(96)[None]}
    for key, value in model.state_dict().items():
        if key.startswith("text_model.") and not key.endswith(("position_ids", "token_type_ids")):
            state["module." + key.replace("text_model.", "text_branch.", 1)] = value
        if key.startswith("text_projection."):
            state["module." + key.replace("linear1", "0").replace("linear2", "2")] = value
    return state


@pytest.fixture(scope="module")
def model() -> Any:
    return random_clap()


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clap")
    model.save_pretrained(path)
    save_tokenizer(path)
    return path


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Embedder:
    return load_embedder("clap", checkpoint=folder)


@pytest.fixture(scope="module")
def text(folder: Path) -> ClapTextEncoder:
    return ClapTextEncoder.from_checkpoint(folder)


def unit(rows: Any) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_scores_and_baseline_are_the_cosines_by_hand() -> None:
    targets = [np.array([1.0, 0.0]), np.array([0.0, 2.0])]
    audio = [np.array([[3.0, 0.0], [1.0, 1.0]]), np.array([[0.0, -1.0]])]
    result = adherence(audio, targets)
    assert result.scores == pytest.approx([(1 + 0.5**0.5) / 2, -1.0])
    assert result.negatives == pytest.approx([0.5**0.5 / 2, 0.0])
    assert result.mean == pytest.approx(np.mean(result.scores))
    assert result.std == pytest.approx(np.std(result.scores, ddof=1))
    assert result.margin == pytest.approx(np.mean(result.scores) - np.mean(result.negatives))
    assert result.win_rate == 0.5
    assert (result.num_pairs, result.num_negatives) == (2, 2)


def test_audio_that_fits_its_prompt_beats_the_baseline_and_random_audio_does_not() -> None:
    generator = np.random.default_rng(0)
    targets = unit(generator.standard_normal((400, 16)))
    fitting = adherence([unit(t + 0.2 * generator.standard_normal((3, 16))) for t in targets], list(targets))
    assert fitting.win_rate is not None
    assert fitting.win_rate > 0.99
    unrelated = adherence([unit(generator.standard_normal((3, 16))) for _ in targets], list(targets))
    assert unrelated.win_rate == pytest.approx(0.5, abs=0.08)
    assert unrelated.margin == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize(
    "keys", ["abcdef", "aabbcc", "abacad", "ab", "aaabbb", "abcbcb", list(range(37)), ["x y", "x", "y", "x y", "z"]]
)
def test_everyone_gets_another_key_once(keys: Any) -> None:
    others = derangement(keys)
    assert sorted(others) == list(range(len(keys)))  # type: ignore[type-var]
    assert all(keys[other] != key for key, other in zip(keys, others, strict=True))  # type: ignore[index]
    assert others == derangement(keys)


def test_pairs_without_another_prompt_are_left_out_of_the_baseline() -> None:
    assert derangement("a") == derangement("aa")[:1] == [None]
    others = derangement("aaab")
    assert sum(other is not None for other in others) == 2
    assert all("aaab"[other] != key for key, other in zip("aaab", others, strict=True) if other is not None)
    alone = adherence([np.ones((2, 3))], [np.ones(3)])
    assert (alone.negatives_mean, alone.margin, alone.win_rate, alone.std) == (None, None, None, 0.0)
    with pytest.raises(ValueError, match="need pairs"):
        adherence([], [])
    with pytest.raises(ValueError, match="2 audio and 1 targets"):
        adherence([np.ones((1, 2))] * 2, [np.ones(2)])


def test_silent_embeddings_have_no_direction() -> None:
    assert mean_cosine(np.zeros((2, 3)), np.ones(3)) == 0.0


def test_the_score_is_that_of_transformers_own_model(model: Any, embedder: Embedder, text: ClapTextEncoder) -> None:
    prompts = ["a dog barks", "slow piano", "a loud cat barks slow"]
    audio = [noise(480_000, seed) * (seed + 0.1) for seed in range(3)]
    result = adherence([embedder.embed(sound).numpy() for sound in audio], list(text.embed(prompts).numpy()))
    tokens = [[0, *(WORDS.index(word) for word in prompt.split()), 2] for prompt in prompts]
    for number, (sound, ids) in enumerate(zip(audio, tokens, strict=True)):
        extractor = transformers.ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50, frequency_max=14_000)
        quantised = np.trunc(sound.clamp(-1, 1).numpy() * 32767) / np.float32(32767)
        features = extractor(quantised, sampling_rate=48_000, return_tensors="pt")["input_features"].float()
        with torch.no_grad():
            output = model(input_ids=torch.tensor([ids]), input_features=features)
        cosine = (
            (output.audio_embeds * output.text_embeds).sum() / output.audio_embeds.norm() / output.text_embeds.norm()
        )
        assert result.scores[number] == pytest.approx(float(cosine), abs=2e-4)
    assert len(set(result.scores)) == 3


def test_an_official_checkpoint_has_the_same_text_embeddings(model: Any, text: ClapTextEncoder, tmp_path: Path) -> None:
    torch.save({"state_dict": official_text_state(model)}, tmp_path / "official.pt")
    file = write_tokenizer(tmp_path / "words.json")
    official = ClapTextEncoder.from_checkpoint(tmp_path / "official.pt", tokenizer=file)
    prompts = ["a dog barks", "rain", "loud loud rain a slow dog barks"]
    torch.testing.assert_close(official.embed(prompts), text.embed(prompts), atol=1e-6, rtol=1e-5)
    assert official.identity() == text.identity()
    torch.testing.assert_close(text.embed(prompts, batch_size=1), text.embed(prompts), atol=1e-6, rtol=1e-5)
    assert text.embed(prompts).norm(dim=1) == pytest.approx(torch.ones(3), abs=1e-6)


def test_long_prompts_are_cut_and_told(text: ClapTextEncoder, caplog: pytest.LogCaptureFixture) -> None:
    long = "dog " * 100
    torch.testing.assert_close(text.embed([long]), text.embed(["dog " * (MAX_TOKENS - 2)]))
    assert "102 tokens" in caplog.text


def test_audio_is_as_similar_to_itself_as_can_be(embedder: Embedder) -> None:
    audio = [noise(30_000, seed).cumsum(0) * 0.01 ** (seed % 2) for seed in range(3)]
    made = [embedder.embed(sound).numpy() for sound in audio]
    result = adherence(made, [each.mean(0) for each in made])
    assert result.scores == pytest.approx([1.0] * 3, abs=1e-5)
    assert result.margin is not None
    assert result.margin > 0


def test_empty_prompts_and_bad_audio_are_refused(embedder: Embedder, text: ClapTextEncoder) -> None:
    with pytest.raises(ValueError, match="not empty"):
        text.embed(["  "])
    with pytest.raises(ValueError, match="NaN"):
        embedder.embed(torch.full((100,), torch.nan))


def test_tokenizers_and_towers_that_do_not_fit_are_refused(model: Any, folder: Path, tmp_path: Path) -> None:
    small = write_tokenizer(tmp_path / "small.json", WORDS[:5])
    with pytest.raises(CheckpointError, match="has 5 tokens"):
        ClapTextEncoder.from_checkpoint(folder, tokenizer=small)
    with pytest.raises(CheckpointError, match="tokenizer"):
        ClapTextEncoder.from_checkpoint(folder, tokenizer=tmp_path / "none")
    state = official_text_state(model)
    torch.save(
        {"state_dict": {key: value for key, value in state.items() if "layer.1.output" not in key}}, tmp_path / "x.pt"
    )
    with pytest.raises(CheckpointError, match=r"missing 4 \(text_model\.encoder\.layer\.1\.output"):
        ClapTextEncoder.from_checkpoint(tmp_path / "x.pt", tokenizer=small)
    state["module.text_branch.embeddings.token_type_embeddings.weight"] = torch.zeros(2, 16)
    torch.save({"state_dict": state}, tmp_path / "bert.pt")
    with pytest.raises(CheckpointError, match="not a RoBERTa"):
        ClapTextEncoder.from_checkpoint(tmp_path / "bert.pt", tokenizer=small)
    torch.save({"state_dict": {"audio_branch.x": torch.zeros(1)}}, tmp_path / "audio.pt")
    with pytest.raises(CheckpointError, match="no text_branch"):
        ClapTextEncoder.from_checkpoint(tmp_path / "audio.pt", tokenizer=small)


def test_the_roberta_tokenizer_that_is_not_there_is_noticed(model: Any, tmp_path: Path) -> None:
    """Offline, transformers gives five tokens for it and no error."""
    torch.save({"state_dict": official_text_state(model)}, tmp_path / "official.pt")
    with pytest.raises(CheckpointError, match="tokenizer"):
        ClapTextEncoder.from_checkpoint(tmp_path / "official.pt")


@pytest.mark.peer
def test_text_embeddings_are_those_of_laion_clap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights at full size through the official model's text side, and through ours."""
    spec = find_spec("laion_clap")
    if spec is None:
        pytest.skip("laion_clap is not installed: pip install 'latentune[laion-clap]'")
    monkeypatch.syspath_prepend(str(Path(spec.origin).parent))
    clap_module = pytest.importorskip("clap_module")
    config = transformers.RobertaConfig(
        vocab_size=len(WORDS), max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5
    )
    monkeypatch.setattr(
        transformers.RobertaModel, "from_pretrained", lambda *args, **options: transformers.RobertaModel(config)
    )
    torch.manual_seed(0)
    official, _config = clap_module.create_model("HTSAT-tiny", "roberta", precision="fp32", device="cpu")
    official.eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in official.state_dict().items()}}, tmp_path / "official.pt")
    ours = ClapTextEncoder.from_checkpoint(tmp_path / "official.pt", write_tokenizer(tmp_path / "words.json"))
    prompts = ["a dog barks", "slow piano loud rain"]
    tokens = ours.tokenizer(prompts, padding="max_length", max_length=MAX_TOKENS, return_tensors="pt")
    with torch.no_grad():
        expected = official.get_text_embedding({k: tokens[k] for k in ("input_ids", "attention_mask")})
    torch.testing.assert_close(ours.embed(prompts), expected, atol=1e-4, rtol=1e-3)
