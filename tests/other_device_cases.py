"""Where codec and solver are on a device that meets no tensor of the host, results are those of the CPU to rounding."""

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from decinv.api import invert
from decinv.cli.entry import run
from decinv.codecs import AutoencoderCodec
from decinv.problems import GradientProblem
from decinv.updates import Anderson, ForwardStep

CONFIGS = Path(__file__).parents[1] / "configs"

QUICK = ("--data.count", "2", "--data.size", "32", "--model.decoder.max_iters", "2", "--model.sampler.steps", "3")


def test_the_device_refuses_what_a_gpu_refuses(other_device: torch.device) -> None:
    there, here = torch.ones(3, 2, device=other_device), torch.ones(3, 2)
    for refused in (lambda: there + here, lambda: here.add_(there), lambda: here[there[:, 0].long()]):
        with pytest.raises(RuntimeError, match="same device"):
            refused()
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    assert (there + torch.tensor(1.0)).cpu().tolist() == [[2.0, 2.0]] * 3
    assert there[torch.tensor([2])].device == other_device


@pytest.mark.parametrize(
    ("options", "memory_mib"),
    [
        ({"max_iters": 5}, None),
        ({"max_iters": 3, "gradient_steps": 2}, None),
        ({"max_iters": 3, "problem": GradientProblem, "update": partial(torch.optim.Adam, lr=0.1)}, None),
        ({"max_iters": 3, "update": ForwardStep, "last_iterate": True}, None),
        ({"max_iters": 6, "update": partial(Anderson, pool=3, prior=1.0), "batch_size": 2}, None),
        ({"max_iters": 4}, 1000),
    ],
)
def test_latents_are_those_of_the_cpu(
    other_device: torch.device, images: Callable[..., Tensor], options: dict[str, Any], memory_mib: int | None
) -> None:
    chunk = images(3, 32, 32)
    expected = invert(chunk, AutoencoderCodec("bundled"), **options)
    codec = AutoencoderCodec("bundled", memory_mib=memory_mib).to(other_device)
    found = invert(chunk.to(other_device), codec, **options)
    assert found.latent.device == other_device
    assert found.status == expected.status
    torch.testing.assert_close(found.latent.cpu(), expected.latent, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "job",
    [
        ("decoder_inversion.yaml", "--model.max_iters", "2"),
        ("gradient_inversion.yaml", "--model.max_iters", "1"),
        ("sampler_inversion.yaml", *QUICK, "--model.method.max_iters", "5"),
        (
            "sampler_inversion.yaml",
            *QUICK,
            "--model.sampler",
            "configs/sampler/dpm_solver.yaml",
            "--model.method.max_iters",
            "5",
        ),
        ("sampler_inversion.yaml", *QUICK, "--model.method", "configs/method/naive.yaml"),
    ],
    ids=" ".join,
)
def test_rows_are_those_of_the_cpu(other_device: torch.device, tmp_path: Path, job: tuple[str, ...]) -> None:
    tables = []
    for accelerator in ("cpu", other_device.type):
        out = tmp_path / accelerator
        run(["fit", "-c", str(CONFIGS / job[0]), *job[1:], "--trainer.accelerator", accelerator, "--out", str(out)])
        with (out / "results.csv").open() as file:
            tables.append(list(csv.DictReader(file)))
    assert len(tables[0]) > 1
    for expected, found in zip(*tables, strict=True):
        assert [found[key] for key in ("name", "status", "reason")] == [expected[key] for key in ("name", "status", "reason")]
        assert float(found["residual"]) == pytest.approx(float(expected["residual"]), rel=0.05, abs=1e-6)
        assert float(found["psnr_db"]) == pytest.approx(float(expected["psnr_db"]), abs=0.05)
