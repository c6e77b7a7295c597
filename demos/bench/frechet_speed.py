"""From embeddings to the Fréchet distance beside frechet-audio-distance's and fadtk's own functions, on a CPU.

    make bench        or        python demos/bench/frechet_speed.py --dim 512 --sizes 1000 10000 --repeats 5

The same float32 embeddings [n, D] on both sides of each, made here; all compute in float64. Two stretches are timed:
from embeddings, and from means and covariances. The order alternates and the ratio of medians is reported. Times are
of the process, so that other programs on the machine do not count; set OMP_NUM_THREADS=1 to compare single threads.
Packages that are not installed are left out, and named.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from official_frechet import FRECHET_PACKAGES, official_parts

from latentune.pipelines.metrics import GaussianStatistics, frechet_distance
from latentune.tokenizers.parts.files import write_json

logger = logging.getLogger("frechet_speed")


def embeddings(num: int, dim: int, seed: int, scale: float) -> np.ndarray:
    """Correlated normal embeddings [n, D] float32."""
    mixing = np.random.default_rng(99).normal(size=(dim, dim)) / np.sqrt(dim) + np.eye(dim)
    return (np.random.default_rng(seed).normal(size=(num, dim)) @ mixing * scale).astype(np.float32)


def measure(contenders: dict[str, Callable[[], float]], repeats: int) -> dict[str, tuple[float, float]]:
    """Name -> median seconds of process time, value."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    values = {name: float(np.real(run())) for name, run in contenders.items()}  # warms up as well
    for turn in range(repeats):
        for name in list(contenders)[:: 1 if turn % 2 else -1]:
            start = time.process_time()
            contenders[name]()
            times[name].append(time.process_time() - start)
    return {name: (statistics.median(times[name]), values[name]) for name in contenders}


def compare(num: int, dim: int, repeats: int) -> list[dict[str, Any]]:
    """One row a package and stretch: seconds of both, their ratio, how far the values lie apart."""
    reference, generated = embeddings(num, dim, 0, 1.0), embeddings(num, dim, 1, 1.1)
    ready = GaussianStatistics.of(reference), GaussianStatistics.of(generated)
    stretches: dict[str, dict[str, Callable[[], float]]] = {
        "from embeddings": {"latentune": lambda: frechet_distance(reference, generated)},
        "from statistics": {"latentune": lambda: frechet_distance(*ready)},
    }
    for package in FRECHET_PACKAGES:
        try:
            gather, distance = official_parts(package)
        except ImportError as error:
            logger.warning("left out: %s", error)
            continue
        theirs = *gather(reference), *gather(generated)
        stretches["from embeddings"][package] = lambda g=gather, d=distance: d(*g(reference), *g(generated))
        stretches["from statistics"][package] = lambda d=distance, t=theirs: d(*t)
    rows = []
    for stretch, contenders in stretches.items():
        found = measure(contenders, repeats)
        ours, value = found.pop("latentune")
        for package, (seconds, other) in found.items():
            apart = abs(other - value) / value
            rows.append({"num": num, "dim": dim, "stretch": stretch, "package": package, "latentune_s": ours})
            rows[-1] |= {"package_s": seconds, "ratio": seconds / ours, "relative_difference": apart}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1000, 10_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("bench_out/frechet_speed.json"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    warnings.simplefilter("ignore", DeprecationWarning)  # of sqrtm's `disp`, which scipy 1.18 takes away
    rows = [row for num in options.sizes for row in compare(num, options.dim, options.repeats)]
    for row in rows:
        logger.info(json.dumps({key: round(v, 9) if isinstance(v, float) else v for key, v in row.items()}))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, {"numpy": np.__version__, "scipy": scipy.__version__, "rows": rows})


if __name__ == "__main__":
    main()
