"""Encoding a signal, and decoding one to a file, take memory that does not grow with its length."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PEAKS = """
import json, sys
from dataclasses import replace
from pathlib import Path
import torch
from latentune.pipelines.data.audio import write_audio
from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig
from latentune.tokenizers.melcodec import MelCodec, MelCodecConfig
from latentune.tokenizers.neucodec import NeuCodec, NeuCodecConfig
from latentune.tokenizers.taae import TAAE, TAAEConfig

# TAAE and MelCodec with frames of a usual length: with those of the tiny configs, the streams are as large as the audio
CODECS = [
    (CoDiCodec, CoDiCodecConfig.tiny(), 120_000, {"max_chunks": 2}, {"steps": 1}),
    (TAAE, replace(TAAEConfig.tiny(), patch_samples=320), 300_000, {"max_frames": 128}, {"max_frames": 128}),
    (NeuCodec, NeuCodecConfig.tiny(), 300_000, *2 * [{"chunk_s": 4.0, "overlap_s": 0.4}]),
    (MelCodec, MelCodecConfig.preset("melcodec-speech"), 300_000, *2 * [{"chunk_s": 4.0}]),
]

def peak_bytes():
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

def encode(codec, num_samples, options):
    return lambda audio: codec.encode(audio, codec.encoder_rate, **options), audio_of(codec, num_samples)

def audio_of(codec, num_samples):
    return 0.1 * torch.randn(1, codec.spec.channels, num_samples)

def decode(codec, num_samples, options):
    spec = codec.spec
    latents = torch.randn(1, spec.num_latents(num_samples), spec.latent_dim)
    path = Path(sys.argv[2]) / "a.wav"
    return lambda given: write_audio(path, codec.decode_pieces(latents=given, **options), spec.sample_rate), latents

torch.set_num_threads(1)
growth = {}
work = {"encode": encode, "decode": decode}[sys.argv[1]]
for codec_class, config, num_samples, *options in CODECS:
    codec = codec_class(config).eval()
    options = options[sys.argv[1] == "decode"]
    used = []
    for length in (1, 1, 4):  # the first fills caches
        run, given = work(codec, length * num_samples, options)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is in use
        before = peak_bytes()
        run(given)
        used.append(peak_bytes() - before)
    growth[codec_class.__name__] = (used[2] - used[1]) / (4 * codec.spec.channels * 3 * num_samples)
print(json.dumps(growth))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_memory_does_not_grow_with_the_length(direction: str, tmp_path: Path) -> None:
    """One copy of the audio that was added would be a growth of 1."""
    command = [sys.executable, "-c", PEAKS, direction, str(tmp_path)]
    frees_at_once = os.environ | {"MALLOC_MMAP_THRESHOLD_": "100000"}  # what is freed does not stay with the process
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=frees_at_once)
    growth = json.loads(done.stdout)
    assert len(growth) == 4
    assert max(growth.values()) < 0.5, growth
