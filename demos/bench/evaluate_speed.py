"""`latentune evaluate` compared with `frechet-audio-distance`: same files, VGGish weights and precision, end to end.

Each runs in a process of its own, with the same number of threads, from files to distance; imports and the loading of
weights are not timed. The weights are random, in the official format: speed does not depend on them, and both distances
can be compared. Needs, in addition to the library, frechet-audio-distance, torchvggish, resampy and numba, somewhere on
PYTHONPATH (their pins do not go together with ours):

    pip install --target PEERS --no-deps frechet-audio-distance torchvggish resampy numba llvmlite
    PYTHONPATH=PEERS python demos/bench/evaluate_speed.py --files 64 --seconds 10

`--memory 32 128 512` runs the library alone, with its default embedder and intervals as `latentune evaluate` has them,
on so many files a side, and gives the peak of memory of each.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

RATE = 44_100  # Hz, of the files: stereo, 16 bit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=64, help="on each side")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each file")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of torch and BLAS")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each tool, in turn; the fastest counts")
    parser.add_argument("--memory", type=int, nargs="+", metavar="FILES", help="peak memory by number of files instead")
    parser.add_argument("--tool", choices=TOOLS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tool is not None:
        sys.stdout.write(json.dumps(TOOLS[options.tool](options.folder, options.threads)))
        return
    if options.memory:
        for num in options.memory:
            sys.stdout.write(json.dumps(peak(num, options.seconds, options.threads)) + "\n")
            sys.stdout.flush()
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_audio(folder, options.files, options.seconds)
        write_weights(folder / "vggish.pth")
        runs = {tool: [] for tool in COMPARED}
        for _ in range(options.repeat):
            for tool in COMPARED:
                runs[tool].append(run(tool, folder, options.threads))
    fastest = {tool: min(found, key=lambda each: each["seconds"]) for tool, found in runs.items()}
    facts = {"files": 2 * options.files, "seconds_each": options.seconds, "threads": options.threads, **fastest}
    facts["speed_ratio"] = fastest["frechet-audio-distance"]["seconds"] / fastest["latentune"]["seconds"]
    sys.stdout.write(json.dumps(facts, indent=2) + "\n")


def peak(num: int, seconds: float, threads: int) -> dict:
    """Peak memory of `latentune evaluate` on files of so many seconds."""
    with tempfile.TemporaryDirectory() as name:
        write_audio(Path(name), num, seconds)
        return {"files": 2 * num, "seconds_each": seconds} | run("default", Path(name), threads)


def run(tool: str, folder: Path, threads: int) -> dict:
    """One tool in a process of its own."""
    environment = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "NUMBA", "OPENBLAS")}
    command = [sys.executable, __file__, "--tool", tool, "--folder", str(folder), "--threads", str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def latentune(folder: Path, threads: int) -> dict:
    import torch

    from latentune.pipelines.evaluate import EvaluateConfig, evaluate
    from latentune.pipelines.measure.embedders import load_embedder

    torch.set_num_threads(threads)
    embedder = load_embedder("vggish", checkpoint=folder / "vggish.pth", overlap=0.0)  # as the package
    config = EvaluateConfig(
        reference=str(folder / "real"), generated=str(folder / "made"), bootstrap=0, num_threads=threads, device="cpu"
    )
    begin = time.perf_counter()
    value = evaluate(config, embedder=embedder).value
    return report(value, begin)


def default(folder: Path, threads: int) -> dict:
    """With the embedder and intervals of an unchanged config."""
    from latentune.pipelines.evaluate import EvaluateConfig, evaluate

    sides = {"reference": str(folder / "real"), "generated": str(folder / "made")}
    begin = time.perf_counter()
    value = evaluate(EvaluateConfig(**sides, num_threads=threads, device="cpu")).value
    return report(value, begin)


def frechet_audio_distance(folder: Path, threads: int) -> dict:
    import numpy as np
    import resampy
    import torch

    for unused in ("laion_clap", "encodec"):  # imported by the package, for other embedders than this
        sys.modules[unused] = ModuleType(unused)
    sys.modules["encodec"].EncodecModel = None  # type: ignore[attr-defined]
    from frechet_audio_distance import FrechetAudioDistance

    torch.set_num_threads(threads)
    network = peer_network()
    network.load_state_dict(torch.load(folder / "vggish.pth", weights_only=True))
    torch.hub.load = lambda **_: network  # what the package would download
    peer = FrechetAudioDistance(model_name="vggish", sample_rate=16_000, audio_load_worker=threads)
    resampy.resample(np.zeros(RATE, "float32"), RATE, 16_000)  # numba compiles on the first call
    begin = time.perf_counter()
    load = peer._FrechetAudioDistance__load_audio_files  # what `score` calls
    sides = [peer.get_embeddings(load(str(folder / side)), 16_000) for side in ("real", "made")]
    statistics = [part for side in sides for part in peer.calculate_embd_statistics(side)]
    try:
        value = float(peer.calculate_frechet_distance(*statistics))
    except TypeError:  # sqrtm of scipy 1.18 takes no `disp`; `score` would give -1
        value = None
    return report(value, begin)


def peer_network():
    """torchvggish's network, called with audio and rate as the one of torch hub is."""
    from torchvggish.torchvggish import VGG, make_layers
    from torchvggish.vggish_input import waveform_to_examples

    class Network(VGG):
        def forward(self, audio, sample_rate):
            return super().forward(waveform_to_examples(audio, sample_rate))

    return Network(make_layers(), postprocess=False)


def report(value: float | None, begin: float) -> dict:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"value": value, "seconds": time.perf_counter() - begin, "peak_mb": peak / 1024}


COMPARED = {"latentune": latentune, "frechet-audio-distance": frechet_audio_distance}
TOOLS = COMPARED | {"default": default}


def write_audio(folder: Path, num: int, seconds: float) -> None:
    """Two sets of stereo noise, coloured differently."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    for side, colour in (("real", 0.9), ("made", 0.8)):
        (folder / side).mkdir()
        for number in range(num):
            noise = rng.normal(size=(round(RATE * seconds), 2))
            noise[1:] += colour * noise[:-1]
            soundfile.write(folder / side / f"{number:04d}.wav", 0.1 * noise, RATE)


def write_weights(path: Path) -> None:
    """Random VGGish weights under torchvggish's names."""
    import torch

    torch.manual_seed(0)
    torch.save(peer_network().state_dict(), path)


if __name__ == "__main__":
    main()
