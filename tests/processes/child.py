"""What a process of ``conftest.start`` does; a script that finds ARGS, ENV, CWD, OUT, ERR and TARGET among its globals."""

import gc
import os
import runpy
import signal
import sys
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from decinv.cli import main

FOREIGN = ("SLURM_", "TORCHELASTIC_", "DECINV_", "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE")
"""Beginnings of variables that would make the process another one than ``env`` says."""


def become(env: dict[str, str], cwd: str, out: str, err: str) -> None:
    """Make the forked process what a fresh one with this environment would be."""
    for stream, name in ((1, out), (2, err)):
        file = os.open(name, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, stream)
        os.close(file)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    sys.argv = ["main.py"]
    os.chdir(cwd)
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    os.environ.update({"OMP_NUM_THREADS": "1", **env})
    rank_zero_only.rank = int(env.get("RANK", env.get("LOCAL_RANK", env.get("SLURM_PROCID", "0"))))
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the fork server ignores it


gc.freeze()  # what the fork server imported stays shared, and no collection looks at it
given: dict[str, Any] = globals()
become(given["ENV"], given["CWD"], given["OUT"], given["ERR"])
file, _, name = given["TARGET"].rpartition(":")
sys.exit((runpy.run_path(file)[name] if name else main)(given["ARGS"]))
