"""Several processes that work as one: started by ``torchrun``, or any launcher that sets its variables.

Everything here does nothing, at no cost, in a process that is alone.
"""

from fastmrcnn.distributed.batch import batch_greatest, batch_sum, shared_batch, statistics_group
from fastmrcnn.distributed.exchange import (
    any_process,
    failing_together,
    from_first,
    gather,
    sum_of_processes,
    wait_for_all,
)
from fastmrcnn.distributed.failures import OtherProcessFailedError, is_first_to_fail, is_lost_process, wait_for_reason
from fastmrcnn.distributed.gradients import gradients_shared, share_gradients
from fastmrcnn.distributed.processes import is_first, join, launched, leave, local_rank, processes, rank
from fastmrcnn.distributed.statistics import average_statistics, share_statistics

__all__ = [
    "OtherProcessFailedError",
    "any_process",
    "average_statistics",
    "batch_greatest",
    "batch_sum",
    "failing_together",
    "from_first",
    "gather",
    "gradients_shared",
    "is_first",
    "is_first_to_fail",
    "is_lost_process",
    "join",
    "launched",
    "leave",
    "local_rank",
    "processes",
    "rank",
    "share_gradients",
    "share_statistics",
    "shared_batch",
    "statistics_group",
    "sum_of_processes",
    "wait_for_all",
    "wait_for_reason",
]
