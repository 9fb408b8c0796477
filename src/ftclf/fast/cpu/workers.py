"""Work shared out over cores, one thread of Python each: operations leave Python's lock while they compute.

Operations as small as a small encoder's do not pay for two cores each: a step takes longer than with half of the rows
on each core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TypeVar

import torch

T = TypeVar("T")


def in_parallel(tasks: Sequence[Callable[[], T]], workers: int) -> list[T]:
    """Return the results of the tasks, run by as many workers with one core each; gradients are not recorded."""
    inference = torch.is_inference_mode_enabled()

    def run(task: Callable[[], T]) -> T:
        with torch.inference_mode() if inference else torch.no_grad():
            return task()

    if workers == 1:
        return [run(task) for task in tasks]

    return list(_pool(workers).map(run, tasks))


@cache
def _pool(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="ftclf", initializer=partial(torch.set_num_threads, 1))
