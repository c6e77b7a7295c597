"""The process that the kill test kills: imports once, then forks a child that encodes for each line on stdin.

A line is the output folder; the answer is the child's process id, then, when it has ended, its exit status.
"""

import os
import sys
import traceback

import torch
from fake_codec import FakeCodec, FakeCodecConfig

from latentune.pipelines.encode import EncodeConfig, encode_dataset


def encode(source: str, output: str) -> None:
    codec = FakeCodec(FakeCodecConfig(delay_s=0.02)).eval()
    config = EncodeConfig(
        source=source,
        output=output,
        max_duration_s=1.0,
        shard_hours=1.5 / 3600,
        batch_s=0.32,
        num_threads=2,
        device="cpu",
    )
    encode_dataset(config, tokenizer=codec)


def main() -> None:
    torch.set_num_threads(1)  # a fork must not meet a pool of threads
    import pyarrow.parquet
    import safetensors.numpy
    import safetensors.torch
    import soundfile
    import soxr

    assert all(m is not None for m in (pyarrow.parquet, safetensors.numpy, safetensors.torch, soundfile, soxr))
    pyarrow.array(["x"])  # imports pandas where there is one
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                encode(sys.argv[1], line.strip())
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(3)
        print(child, flush=True)  # noqa: T201
        print(os.waitpid(child, 0)[1], flush=True)  # noqa: T201
    os._exit(0)  # tearing torch down takes seconds


if __name__ == "__main__":
    main()
