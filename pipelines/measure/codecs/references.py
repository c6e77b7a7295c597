"""Reference systems: what a codec's figures are read against, on the same recordings.

Opus and Codec2 are run as programs, the Debian packages `opus-tools` and `codec2`. `untrained`, the codec itself with
random weights, is in `systems.untrained`. Shape letters: C channels, N samples.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ....layers.stft import hann_window
from ...data.audio.convert import resample, to_channels
from .systems import ORIGINAL, System, original, silence

UNTRAINED = "untrained"
CODEC2_RATE = 8_000  # Hz, of its input and output
CODEC2_DELAY = 160  # samples by which its output lags; ESTOI against a shifted original is highest there, +- 40
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)  # Hz that opusdec writes
PHASE_WINDOW = 1024  # samples
INT16_MAX = 32_767


def opus(audio: Tensor, sample_rate: int, *, kbps: float) -> Tensor:
    """Returns audio through Opus.

    Args:
        audio: [C, N].
        sample_rate: in Hz.
        kbps: variable bit rate in kbit/s, for all channels together.

    Returns:
        Audio [C, N].

    Raises:
        RuntimeError: opusenc or opusdec fails.
    """
    import soundfile

    wave = io.BytesIO()
    soundfile.write(wave, audio.clamp(-1.0, 1.0).T.numpy(), sample_rate, format="WAV", subtype="PCM_16")
    rate = next((known for known in OPUS_RATES if known >= sample_rate), OPUS_RATES[-1])
    packets = _run(["opusenc", "--quiet", "--bitrate", f"{kbps:g}", "-", "-"], wave.getvalue())
    decoded = _run(["opusdec", "--quiet", "--float", "--rate", str(rate), "-", "-"], packets)
    samples = torch.from_numpy(np.frombuffer(decoded, "<f4").copy()).reshape(-1, len(audio)).T
    return fit_length(resample(samples, rate, sample_rate), audio.shape[-1])


def codec2(audio: Tensor, sample_rate: int, *, mode: str) -> Tensor:
    """Returns audio [C, N] through the speech codec Codec2: mono, below 4 kHz, its delay removed.

    Args:
        audio: [C, N]; channels are averaged before and are equal afterwards.
        sample_rate: in Hz.
        mode: bit/s as c2enc names them, such as `3200` or `1200`.

    Returns:
        Audio [C, N].

    Raises:
        RuntimeError: c2enc or c2dec fails.
    """
    return codec2_decode(codec2_encode(audio, sample_rate, mode), mode, sample_rate, *audio.shape)


def codec2_encode(audio: Tensor, sample_rate: int, mode: str) -> bytes:
    """Returns the bytes of Codec2 for audio.

    Args:
        audio: [C, N]; channels are averaged.
        sample_rate: in Hz.
        mode: as of `codec2`.

    Returns:
        The output of c2enc.

    Raises:
        RuntimeError: c2enc fails.
    """
    mono = resample(audio.mean(0, keepdim=True), sample_rate, CODEC2_RATE)
    padded = torch.nn.functional.pad(mono, (0, 4 * CODEC2_DELAY))  # whole frames, and what the delay takes
    samples = (padded[0].clamp(-1.0, 1.0) * INT16_MAX).to(torch.int16).numpy().astype("<i2")
    return _run(["c2enc", mode, "-", "-"], samples.tobytes())


def codec2_decode(data: bytes, mode: str, sample_rate: int, channels: int, num_samples: int) -> Tensor:
    """Returns the audio of Codec2's bytes, its delay removed.

    Args:
        data: of `codec2_encode`, perhaps with other bits.
        mode: as of `codec2`.
        sample_rate: in Hz, of the result.
        channels: C, all alike.
        num_samples: N.

    Returns:
        Audio [C, N].

    Raises:
        RuntimeError: c2dec fails.
    """
    decoded = _run(["c2dec", mode, "-", "-"], data)
    samples = torch.from_numpy(np.frombuffer(decoded, "<i2").astype(np.float32) / INT16_MAX)[None, CODEC2_DELAY:]
    return to_channels(fit_length(resample(samples, CODEC2_RATE, sample_rate), num_samples), channels)


def random_phase(audio: Tensor, sample_rate: int) -> Tensor:
    """Returns audio [C, N] with the magnitudes of its STFT and phases drawn at random, the same at every call."""
    window = hann_window(PHASE_WINDOW, audio)
    hop = PHASE_WINDOW // 4
    padded = torch.nn.functional.pad(audio, (PHASE_WINDOW, PHASE_WINDOW))
    spectrum = torch.stft(padded, PHASE_WINDOW, hop, window=window, return_complex=True)
    generator = torch.Generator().manual_seed(0)
    phase = torch.rand(spectrum.shape[-2:], generator=generator) * 2 * torch.pi  # channels keep their relation
    turned = spectrum * torch.polar(torch.ones_like(phase), phase)
    made = torch.istft(turned, PHASE_WINDOW, hop, window=window, length=padded.shape[-1])
    return made[..., PHASE_WINDOW : PHASE_WINDOW + audio.shape[-1]]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A reference system and the programs it needs."""

    system: System
    programs: tuple[str, ...] = ()
    package: str = ""  # of Debian, with the programs


OPUS_TOOLS: Callable[..., Reference] = partial(Reference, programs=("opusenc", "opusdec"), package="opus-tools")
CODEC2: Callable[..., Reference] = partial(Reference, programs=("c2enc", "c2dec"), package="codec2")
REFERENCES: dict[str, Reference] = {
    ORIGINAL: Reference(system=original),
    "opus-6": OPUS_TOOLS(system=partial(opus, kbps=6)),
    "opus-12": OPUS_TOOLS(system=partial(opus, kbps=12)),
    "codec2-3200": CODEC2(system=partial(codec2, mode="3200")),
    "codec2-1200": CODEC2(system=partial(codec2, mode="1200")),
    "random-phase": Reference(system=random_phase),
    "silence": Reference(system=silence),
}
ALL_REFERENCES = (*REFERENCES, UNTRAINED)


def reference_systems(names: Sequence[str]) -> tuple[dict[str, System], dict[str, str]]:
    """Returns the reference systems that can run here, and for the others the reason why they cannot.

    Args:
        names: out of `REFERENCES`.
    """
    found: dict[str, System] = {}
    absent: dict[str, str] = {}
    for name in names:
        missing = [program for program in REFERENCES[name].programs if shutil.which(program) is None]
        if missing:
            absent[name] = f"{missing[0]} is not installed: apt-get install {REFERENCES[name].package}"
        else:
            found[name] = REFERENCES[name].system
    return found, absent


def check_references(names: Sequence[str]) -> None:
    """Raises ValueError unless the names are different reference systems."""
    if wrong := [name for name in names if name not in ALL_REFERENCES]:
        raise ValueError(f"no reference system is called {wrong[0]!r}: choose from {', '.join(ALL_REFERENCES)}")
    if len(set(names)) < len(names):
        raise ValueError(f"a reference system is named twice: {', '.join(names)}")


def fit_length(audio: Tensor, num_samples: int) -> Tensor:
    """Returns audio [C, N] cut, or padded with silence, to `num_samples`."""
    return torch.nn.functional.pad(audio[..., :num_samples], (0, max(0, num_samples - audio.shape[-1])))


def _run(command: list[str], data: bytes) -> bytes:
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode:
        reason = " ".join(done.stderr.decode(errors="replace").split())[-200:]
        raise RuntimeError(f"{command[0]} failed with exit code {done.returncode}: {reason}")
    return done.stdout
