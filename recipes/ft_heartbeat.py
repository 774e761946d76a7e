"""Heartbeats to the rank monitors of nvidia-resiliency-ext's ft_launcher, which kill a rank that sends none in time.

Only where the job was started by ft_launcher (LAUNCH_LAUNCHER=ft, set by the node agent); nothing is imported or done
otherwise. A rank connects before set-up and sends a heartbeat after each step, after each validation, and before and
after each save of a checkpoint. Read against nvidia_resiliency_ext 0.4.1.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import contract

Say = Callable[[str], None]

_AFTER = ("log_train_metrics", "log_val_metrics")  # AutoModel 0.7.0 calls them on every rank
_AROUND = ("save_checkpoint",)


class Heartbeat:
    """The connection of this rank to its monitor; without one, every method does nothing.

    A monitor that cannot be reached is reported once and costs the training nothing but the watch over it.
    """

    def __init__(self, client: Any, say: Say) -> None:
        """`client` is a connected RankMonitorClient, or None."""
        self._client = client
        self._say = say

    @property
    def closed(self) -> bool:
        """Whether there is no connection, or none any more."""
        return self._client is None

    def beat(self) -> None:
        """Tell the monitor that this rank goes on."""
        if self._client is None:
            return
        try:
            self._client.send_heartbeat()
        except Exception as error:  # RankMonitorClientError, but also what a closed socket raises
            self._say(f"no more heartbeats to ft_launcher: {error}")
            self.close()

    def close(self) -> None:
        """End the watch: what is left of the run may take as long as it likes."""
        client, self._client = self._client, None
        if client is None:
            return
        try:
            client.shutdown_workload_monitoring()
        except OSError:  # the other side has closed it
            return


def connect(recipe: Any, say: Say) -> Heartbeat:
    """Connect this rank to its monitor and have `recipe` send heartbeats; `say` prints on rank 0."""
    heartbeat = open_connection(say)
    if heartbeat.closed:
        return heartbeat
    for name in (*_AFTER, *_AROUND):
        method = getattr(recipe, name, None)
        if callable(method):
            setattr(recipe, name, _with_heartbeat(method, heartbeat, before=name in _AROUND))
    return heartbeat


def open_connection(say: Say) -> Heartbeat:
    """Connect this rank to its monitor, for a training whose own steps call `beat`."""
    under_ft = os.environ.get(contract.LAUNCHER_VAR) == contract.FT_LAUNCHER
    return Heartbeat(_client(say) if under_ft else None, say)


def _client(say: Say) -> Any:
    try:
        client = importlib.import_module("nvidia_resiliency_ext.fault_tolerance").RankMonitorClient()
        client.init_workload_monitoring()
    except Exception as error:  # of the library, or of the socket
        say(f"no heartbeats to ft_launcher: {type(error).__name__}: {error}")
        return None
    return client


def _with_heartbeat(method: Callable[..., Any], heartbeat: Heartbeat, *, before: bool) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if before:
            heartbeat.beat()
        result = method(*args, **kwargs)
        heartbeat.beat()
        return result

    return call
