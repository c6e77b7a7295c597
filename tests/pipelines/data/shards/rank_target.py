"""Processes that encode together: imports once, then forks one for each line on stdin.

A line `start OUTPUT RANK` is answered with the number of a new process, `wait PID` with its wait status.
"""

import os
import sys

import torch
from fake_codec import FakeCodec, FakeCodecConfig

from latentune.pipelines.encode import EncodeConfig, encode_dataset


def encode(source: str, output: str, rank: str) -> None:
    os.environ.update(RANK=rank, WORLD_SIZE="4", LOCAL_RANK=rank)
    config = EncodeConfig(
        source=source,
        output=output,
        max_duration_s=1.0,
        shard_hours=1.5 / 3600,
        batch_s=0.32,
        num_threads=1,
        device="cpu",
    )
    summary = encode_dataset(config, tokenizer=FakeCodec(FakeCodecConfig(delay_s=0.1)).eval())
    with open(f"{output}.{rank}", "w") as file:
        file.write(f"{summary.num_shards_encoded} {summary.num_shards}")


def main() -> None:
    torch.set_num_threads(1)  # a fork must not meet a pool of threads
    import psutil
    import pyarrow.parquet
    import safetensors.numpy
    import safetensors.torch
    import soundfile
    import soxr

    assert all(m is not None for m in (psutil, pyarrow.parquet, safetensors.numpy, safetensors.torch, soundfile, soxr))
    pyarrow.array(["x"])  # imports pandas where there is one
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        match line.split():
            case ["start", output, rank]:
                child = os.fork()
                if child == 0:
                    try:
                        encode(sys.argv[1], output, rank)
                        os._exit(0)
                    finally:
                        os._exit(3)
                print(child, flush=True)  # noqa: T201
            case ["wait", pid]:
                print(os.waitpid(int(pid), 0)[1], flush=True)  # noqa: T201
    os._exit(0)  # tearing torch down takes seconds


if __name__ == "__main__":
    main()
