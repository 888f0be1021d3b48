"""Workers on the nodes of a Ray cluster; all nodes share the folders of inputs and outputs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from streammat.batch.workers import CORES, Child, Task, ThreadedWorkers, WorkerEvent
from streammat.errors import InputError, UsageError, first_line

_PATIENCE = 5.0
"""Seconds to wait for an actor's answer before asking again: Ray may be starting it on another node."""


class RayWorkers(ThreadedWorkers):
    """One actor for every ``cores`` of the cluster, or for every GPU if there are any; it keeps its network open between shards,
    and actors of a lost node are started again elsewhere.

    Args:
        address: the cluster, as ``ray.init`` takes it; ``local`` starts one here.
        cores: cores for each worker; 0: the usual number, or all of a smaller node.
        options: added to each task's arguments, which take precedence.

    Raises:
        UsageError: Ray is not installed.
        InputError: there is no such cluster.
    """

    attempts = 4  # nodes are lost for reasons of their own

    def __init__(self, address: str, cores: int = 0, options: Sequence[str] = ()) -> None:
        try:
            import ray
        except ModuleNotFoundError as error:
            raise UsageError("--ray: Ray is not installed; install it with pip install 'streammat[ray]', on every node") from error
        self._ray: Any = ray
        self._options = tuple(options)
        try:
            ray.init(address=None if address == "local" else address, log_to_driver=False, configure_logging=False, include_dashboard=False if address == "local" else None)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(f"--ray {address}: there is no cluster ({first_line(error)}); check the address, such as 10.0.0.5:6379, or leave it out") from error
        ray._private.worker._worker_logs_enabled = False  # noqa: SLF001 - it prints errors of its nodes on stdout, which is ours; log_to_driver does not say no to that
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = sum(int(node.get("GPU", 0)) for node in nodes)
        least = cores or min([CORES, *(int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1)])
        count = gpus or sum(int(node.get("CPU", 0)) // least for node in nodes)
        if not count:
            ray.shutdown()
            raise InputError(f"--ray {address}: the cluster has no node with {least} cores; add nodes")
        actor = ray.remote(_Actor).options(num_cpus=0 if gpus else least, num_gpus=1 if gpus else 0, max_restarts=-1)
        self._actors = {str(number): actor.remote(os.getcwd(), (*self._options, f"--threads={least}")) for number in range(1, count + 1)}
        super().__init__(list(self._actors))

    def end(self) -> None:
        """See `Workers.end`; leaves the cluster."""
        super().end()
        self._ray.shutdown()

    def _is_there(self, worker: str) -> bool:
        with suppress(self._ray.exceptions.RayError):
            return bool(self._ray.get(self._actors[worker].answers.remote(), timeout=_PATIENCE))
        return False

    def _perform(self, task: Task, worker: str) -> Iterator[WorkerEvent]:
        try:
            for said in self._actors[worker].work.options(num_returns="streaming").remote(task, worker):
                yield self._ray.get(said)
        except self._ray.exceptions.RayError as error:
            yield WorkerEvent("lost", task, worker, reason=f"its node was lost ({type(error).__name__})")

    def _halt(self) -> None:
        for actor in self._actors.values():
            self._ray.kill(actor)


class _Actor:
    """A worker on a node."""

    def __init__(self, folder: str, options: tuple[str, ...]) -> None:
        os.chdir(folder)
        self._child = Child(options)

    def answers(self) -> bool:
        """Return True, to show that the actor is alive."""
        return True

    def work(self, task: Task, worker: str) -> Iterator[WorkerEvent]:
        """Yield the events of `Child.perform`, with the node's name."""
        yield from self._child.perform(task, f"{worker} on {os.uname().nodename}")
