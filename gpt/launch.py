"""Starts the processes that train one model together, on this machine: torchrun, called as a library.

They meet through a file and talk over loopback: nothing here listens to the network, as torchrun by itself would.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from tempfile import TemporaryDirectory


def launch(command: Sequence[str], processes: int, threads: int, grace_s: float) -> dict[int, int]:
    """Run `python COMMAND` in so many processes; returns {rank: exit status} of those that failed, negative for a
    signal. When one fails, or this process is asked to stop, the others get SIGTERM, and SIGKILL `grace_s` later.

    Call it from the main thread. Raises KeyboardInterrupt after it was stopped (its argument: the signal's number).
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for part in ("agent.server.api", "multiprocessing.api"):  # what they have to say, we say
        logging.getLogger(f"torch.distributed.elastic.{part}").setLevel(logging.CRITICAL)
    os.environ |= {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": str(threads)}
    with TemporaryDirectory(prefix="together-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id="together",
            rdzv_backend="c10d",
            rdzv_endpoint=f"{folder}/meeting",
            rdzv_configs={"store_type": "file"},
            local_addr="127.0.0.1",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            shutdown_timeout=int(grace_s) + 1,
        )
        try:
            elastic_launch(config, sys.executable)(*command)
        except SignalException as stopped:
            raise KeyboardInterrupt(int(stopped.sigval)) from None
        except ChildFailedError as failed:
            return {rank: failure.exitcode for rank, failure in failed.failures.items()}
    return {}
