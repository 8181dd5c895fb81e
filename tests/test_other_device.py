"""Jobs on another device, in a process of their own: torch learns of a device before its first backward pass only."""

import subprocess
import sys
from pathlib import Path


def test_jobs_on_a_device_that_refuses_what_a_gpu_refuses() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n0", str(Path(__file__).with_name("other_device_cases.py"))]
    cases = subprocess.run(command, capture_output=True, text=True, check=False)
    assert cases.returncode == 0, cases.stdout
