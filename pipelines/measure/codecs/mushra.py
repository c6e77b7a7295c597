"""A MUSHRA listening test of reconstructions (ITU-R BS.1534-3): references, anchors, systems, and a page for webMUSHRA.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....core.files import write_text
from ....core.outputs import slug
from ...data.audio.write import write_audio
from ..results.audio import AudioRow

ANCHORS_HZ = {"anchor35": 3500.0, "anchor70": 7000.0}  # of the low and of the middle anchor
TRANSITION_HZ = 200.0  # from the end of their pass band to where 60 dB are gone
FOLDER, CONFIG = "mushra", "mushra.yaml"
PLACE = "configs/resources/latentune"  # of the audio in a checkout of webMUSHRA


def write_mushra(folder: str | Path, rows: Sequence[AudioRow], title: str) -> Path:
    """Writes one trial per row: `mushra/NUMBER/reference.wav`, the two anchors, a file per system, and `mushra.yaml`.

    An anchor that would keep all that the sample rate allows is left out. webMUSHRA adds the hidden reference itself.

    Args:
        folder: which exists.
        rows: of `Players`: the original first, then the systems.
        title: of the test.

    Returns:
        The folder `mushra`.
    """
    import yaml

    made = Path(folder) / FOLDER
    made.mkdir(exist_ok=True)
    trials = [_write_trial(made, number, row) for number, row in enumerate(rows, start=1)]
    write_text(made / CONFIG, yaml.safe_dump(_test(title, trials), sort_keys=False, allow_unicode=True))
    return made


def low_pass(audio: Tensor, sample_rate: int, edge_hz: float) -> Tensor:
    """Returns audio [C, N] without what lies above `edge_hz`, by a Kaiser-windowed sinc of linear phase, not delayed.

    Args:
        audio: [C, N].
        sample_rate: in Hz.
        edge_hz: end of the pass band; `TRANSITION_HZ` above it 60 dB are gone.
    """
    middle = 2 * (edge_hz + TRANSITION_HZ / 2) / sample_rate  # of the transition, 1 at half of the rate
    half = int(np.ceil(1.85 * sample_rate / TRANSITION_HZ))
    places = np.arange(-half, half + 1)
    taps = middle * np.sinc(middle * places) * np.kaiser(2 * half + 1, 5.65)
    size = audio.shape[-1] + 2 * half
    product = torch.fft.rfft(audio.double(), n=size) * torch.fft.rfft(torch.from_numpy(taps), n=size)
    kept: Tensor = torch.fft.irfft(product, n=size)[..., half : half + audio.shape[-1]]
    return kept.to(audio.dtype)


def _write_trial(folder: Path, number: int, row: AudioRow) -> dict[str, Any]:
    """Writes the audio of one trial; returns its page."""
    name = f"{number:02d}"
    (folder / name).mkdir(exist_ok=True)
    original, *cells = row.cells
    reference, rate = original.audio, original.sample_rate
    stimuli = {key: low_pass(reference, rate, hz) for key, hz in ANCHORS_HZ.items() if hz + TRANSITION_HZ < rate / 2}
    for number_of_cell, cell in enumerate(cells, start=1):
        key = slug(cell.label)
        stimuli[f"{key}-{number_of_cell}" if key in stimuli else key] = cell.audio
    for key, audio in {"reference": reference, **stimuli}.items():
        write_audio(folder / name / f"{key}.wav", audio, rate)
    place = f"{PLACE}/{name}"
    return {
        "type": "mushra",
        "id": f"trial_{name}",
        "name": f"Trial {number}",
        "content": "How near is each sound to the reference, from 0 (bad) to 100 (excellent)? One is the reference.",
        "showWaveform": True,
        "enableLooping": True,
        "randomize": True,
        "createAnchor35": False,
        "createAnchor70": False,
        "reference": f"{place}/reference.wav",
        "stimuli": {key: f"{place}/{key}.wav" for key in stimuli},
    }


def _test(title: str, trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The config of webMUSHRA: a page of instructions, the trials in random order, and the end."""
    welcome = "Use headphones in a quiet room. Set the volume with the first reference and do not change it afterwards."
    return {
        "testname": title,
        "testId": "latentune",
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": True,
        "remoteService": "service/write.php",
        "pages": [
            {"type": "generic", "id": "welcome", "name": title, "content": welcome},
            ["random", *trials],
            {
                "type": "finish",
                "name": "Thank you",
                "content": "Send the results with the button.",
                "showResults": False,
                "writeResults": True,
            },
        ],
    }
