"""The errors of graphs whose nodes run elsewhere. The others, and what every error carries, are in `langgraph_nolag/errors.py`.

    NoLagError
      NotImportable ......... a class or node that other processes could not import
      UntrustedType ......... a payload names a class that the graph does not use: nothing of it was executed
      RemoteNodeError ....... a node raised an exception whose class does not exist in this process
      NothingToDecide ....... a thread was to be resumed with a decision, and waits for none
      NothingToRun .......... a run was asked for that this worker can't do
      ExecutionLost ......... this attempt at a node is not the current one any more
      StaleLease
        RunFenced ........... another orchestrator runs the thread by now
    NoLagWarning ............ a UserWarning: works, but with less than one may think

`RunFenced` is exported by `langgraph_nolag`, since whoever runs a thread may have to catch it; the others are imported from here.
"""

from __future__ import annotations

from typing import Any

from ..errors import NoLagError, StaleLease
from ..errors import NotSupported as NotSupported


class NotImportable(NoLagError):
    """Another process can't import what this graph needs. The message names it and says what to do."""

    code = "not_importable"


class UntrustedType(NoLagError):
    """A payload names a class that is not on the allow-list. It was not imported, and none of its code ran."""

    code = "untrusted_type"


class RemoteNodeError(NoLagError):
    """Stands for an exception of a remote node whose class is not known in this process.

    Attributes:
        error_type: `module:name` of the class on the worker.
        error_message: its text.
    """

    code = "remote_node_error"

    def __init__(self, message: str = "", *, error_type: str = "", error_message: str = "", **kwargs: Any) -> None:
        super().__init__(message or f"{error_type}: {error_message}", **kwargs)
        self.error_type = error_type
        self.error_message = error_message


class NothingToDecide(NoLagError):
    """No gate of this thread waits: it has ended, has not begun, or waits for something else."""

    code = "nothing_to_decide"


class RunFenced(StaleLease):
    """The thread is another orchestrator's: it was invoked again, or a worker took it up because this process was silent for too long.
    What this run still had to say was refused, not mixed in."""

    code = "run_fenced"


class NothingToRun(NoLagError):
    """What was asked for does not fit the graph or the thread: another version of the graph has run it, for example."""

    code = "nothing_to_run"


class ExecutionLost(NoLagError):
    """The room gave this execution to another worker, or it was cancelled; what it still does counts for nothing."""

    code = "execution_lost"


class NoLagWarning(UserWarning):
    """It works, but promises less than one may think."""
