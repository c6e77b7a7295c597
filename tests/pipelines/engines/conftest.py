"""A Ray cluster of two machines in one."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines in one: a head and a second node, one CPU each."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)  # of the helpers of the tests
    # workers would give way to everything else on the machine, and a busy one must not be taken for dead
    settings = {"worker_niceness": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 10}
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args={**node, "_system_config": settings})
    found.second = found.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()
    os.environ["PYTHONPATH"] = before


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As Ray's workers have it: rounding depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
