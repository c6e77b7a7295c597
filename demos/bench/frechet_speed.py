"""From embeddings to the Fréchet distance, compared with frechet-audio-distance's and fadtk's functions, on a CPU.

    make bench        or        python demos/bench/frechet_speed.py --dim 512 --sizes 1000 10000 --repeats 5

All are given the same float32 embeddings [n, D], as embedders make them, and compute in float64. The stretch from
embeddings to distance is timed as a whole and in its halves: one set's mean and covariance, and the distance from both
sets'. (Ours may be quicker as a whole: n <= D needs no covariance.) The order alternates and the ratio of medians is
reported. Times are of the process, so that other programs on the machine do not count; they add up over threads, so
that OMP_NUM_THREADS=1 belongs to them. `--wall` takes times by the clock, for several threads on a machine that has
nothing else to do. Packages that are not installed are left out, and named.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from official_frechet import FRECHET_PACKAGES, official_parts
from timing import median_seconds

from latentune.core.files import write_json
from latentune.pipelines.measure.metrics import GaussianStatistics, frechet_distance

logger = logging.getLogger("frechet_speed")
Contenders = dict[str, Callable[[], Any]]


def embeddings(num: int, dim: int, seed: int, scale: float) -> np.ndarray:
    """Correlated normal embeddings [n, D] float32."""
    mixing = np.random.default_rng(99).normal(size=(dim, dim)) / np.sqrt(dim) + np.eye(dim)
    return (np.random.default_rng(seed).normal(size=(num, dim)) @ mixing * scale).astype(np.float32)


def compare(num: int, dim: int, repeats: int, clock: Callable[[], float]) -> list[dict[str, Any]]:
    """One row a package and stretch: seconds of both, their ratio, how far the distances lie apart."""
    reference, generated = embeddings(num, dim, 0, 1.0), embeddings(num, dim, 1, 1.1)
    ready = GaussianStatistics.of(reference), GaussianStatistics.of(generated)
    stretches: dict[str, Contenders] = {
        "embeddings to distance": {"latentune": lambda: frechet_distance(reference, generated)},
        "statistics of one set": {"latentune": lambda: GaussianStatistics.of(reference)},
        "statistics to distance": {"latentune": lambda: frechet_distance(*ready)},
    }
    value, apart = frechet_distance(reference, generated), {}
    for package in FRECHET_PACKAGES:
        try:
            gather, distance = official_parts(package)
        except ImportError as error:
            logger.warning("left out: %s", error)
            continue
        theirs = *gather(reference), *gather(generated)
        apart[package] = abs(float(np.real(distance(*theirs))) - value) / value
        stretches["embeddings to distance"][package] = lambda g=gather, d=distance: d(*g(reference), *g(generated))
        stretches["statistics of one set"][package] = lambda g=gather: g(reference)
        stretches["statistics to distance"][package] = lambda d=distance, t=theirs: d(*t)
    rows = []
    for stretch, contenders in stretches.items():
        for run in contenders.values():
            run()
        found = median_seconds(contenders, repeats, clock)
        ours = found.pop("latentune")
        for package, seconds in found.items():
            rows.append({"num": num, "dim": dim, "stretch": stretch, "package": package, "latentune_s": ours})
            rows[-1] |= {"package_s": seconds, "ratio": seconds / ours, "relative_difference": apart[package]}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 1000, 2000, 10_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--wall", action="store_true", help="time by the clock, not the process")
    parser.add_argument("--output", type=Path, default=Path("bench_out/frechet_speed.json"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    warnings.simplefilter("ignore", DeprecationWarning)  # of sqrtm's `disp`, which scipy 1.18 takes away
    clock = time.perf_counter if options.wall else time.process_time
    rows = [row for num in options.sizes for row in compare(num, options.dim, options.repeats, clock)]
    for row in rows:
        logger.info(json.dumps({key: round(v, 9) if isinstance(v, float) else v for key, v in row.items()}))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, {"numpy": np.__version__, "scipy": scipy.__version__, "rows": rows})


if __name__ == "__main__":
    main()
