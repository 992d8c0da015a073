"""Processes that train together: started here by torch's elastic launcher, or by torchrun (several machines)."""

import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from model.parallel import WHOLE, Columns

LOOPBACK = "127.0.0.1"
GRACE_SECONDS = 2.0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class RankFailedError(RuntimeError):
    """One of the processes ended with an error, so the others were ended."""

    def __init__(self, rank: int, count: int, reason: str, traceback: str) -> None:
        super().__init__(f"process {rank} of {count} failed: {reason}")
        self.reason, self.traceback = reason, traceback
        """`<exception class>: <message>`, or the signal that killed it; where it failed, empty after a signal."""


@contextmanager
def joined(device: torch.device) -> Iterator[Columns]:
    """Meet the other processes that RANK and WORLD_SIZE tell of; on GPUs, take the one of LOCAL_RANK."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield WHOLE
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    yield Columns.joined()
    dist.destroy_process_group()  # not after an error: another process may be gone, and this one ends in any case


def launch(count: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in `count` new processes on this machine and return what the first one's call returns.

    Function, arguments and result must be picklable. A signal that ends this process ends the others too.

    Raises `RankFailedError` when one fails; the others are ended then.
    """
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    with TemporaryDirectory(prefix="microrec-") as logs, _quiet(logging.getLogger("torch")):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint=f"{LOOPBACK}:0",
            local_addr=LOOPBACK,
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        try:
            return elastic_launch(config, _call)(function, *arguments)[0]
        except ChildFailedError as error:
            raise _explained(error, count) from None
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + error.sigval) from None
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _explained(error: ChildFailedError, count: int) -> RankFailedError:
    rank, failure = error.get_first_failure()
    message: Any = failure.message  # a text, or what `record` wrote of an exception
    if isinstance(message, dict):
        return RankFailedError(rank, count, message["message"], message["extraInfo"]["py_callstack"])
    return RankFailedError(rank, count, message, "")


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Without the launcher's own account of a failure, several tracebacks long."""
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is for the process that launched this one to answer
    torch.set_num_threads(max(1, torch.get_num_threads() // int(os.environ["LOCAL_WORLD_SIZE"])))
    try:
        return function(*arguments)
    except RuntimeError:
        # A process that dies shows in the others as a broken connection: let it be found first.
        time.sleep(GRACE_SECONDS)
        raise
