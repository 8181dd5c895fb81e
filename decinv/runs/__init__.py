"""Runs on disk: shared by any number of processes, continued after any interruption."""

from decinv.runs.directory import RunDirectory
from decinv.runs.inputs import Input, InputList
from decinv.runs.merge import Report, merge, merge_if_complete
from decinv.runs.share import Share

__all__ = ["Input", "InputList", "Report", "RunDirectory", "Share", "merge", "merge_if_complete"]
