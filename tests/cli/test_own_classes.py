"""Classes of a file in the working directory, each named by one option."""

import json
import sys
from pathlib import Path

import pytest

from decinv.cli import main
from decinv.runs import RunDirectory

JOB = str(Path(__file__).parents[2] / "configs" / "decoder_inversion.yaml")

OWN = """
import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from decinv.batch import Failure
from decinv.callbacks import ChunkCallback
from decinv.codecs import Codec
from decinv.data import IndexedData
from decinv.data.buckets import Sample
from decinv.modules import Inversion
from decinv.problems import DecoderProblem
from decinv.runs import Input
from decinv.stopping import Stopping
from decinv.updates import ForwardStep, UpdateRule


class Patches(Codec):
    stride, latent_channels = 2, 12

    def _encode(self, image: Tensor) -> Tensor:
        return 0.75 * functional.pixel_unshuffle(image, 2)

    def _decode(self, latent: Tensor) -> Tensor:
        return functional.pixel_shuffle(latent, 2)


class Rule(UpdateRule):
    def __init__(self, params, lr: float = 1.0) -> None:
        super().__init__(params, {"lr": lr})

    def reset(self, max_iters: int) -> None:
        pass

    def select(self, keep: Tensor) -> None:
        pass

    def update(self) -> None:
        self.point.sub_(self.param_groups[0]["lr"] * self.residual)


class Plain(torch.optim.Optimizer):
    def __init__(self, params, lr: float = 1.0) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for point in group["params"]:
                point.sub_(group["lr"] * point.grad)


class Doubled(DecoderProblem):
    def evaluate(self, point: Tensor):
        evaluation = super().evaluate(point)
        return evaluation._replace(residual=2 * evaluation.residual)


class Own(Inversion):
    def __init__(self, codec: Codec, max_iters: int = 4) -> None:
        super().__init__(codec, lambda params: ForwardStep(params, 0.5), Stopping(max_iters))

    def problem(self, image: Tensor) -> Doubled:
        return Doubled(self.codec, image)


class Noise(IndexedData):
    def __init__(self, count: int = 3) -> None:
        super().__init__(batch_size=2, shard="0/1", block=None, workers=0)
        self.count = count

    def list_inputs(self):
        return [Input(number, f"noise-{number}") for number in range(self.count)]

    def load(self, item: Input, codec: Codec):
        if item.number == 1:
            return Failure(item.name, "It has no noise.")
        generator = torch.Generator().manual_seed(item.number)
        return Sample(item.name, torch.rand(3, 8, 8, generator=generator) - 0.5, (8, 8))


class Note(ChunkCallback):
    def __init__(self, path: str = "note.json") -> None:
        self.path = path

    def on_chunk_end(self, trainer, pl_module, chunk) -> None:
        with Path(self.path).open("a") as file:
            file.write(json.dumps([chunk.batch.names, chunk.result.history.tolist()]) + "\\n")
"""


@pytest.mark.parametrize("chosen", [["--model.update=own.Rule"], ["--model.update=own.Plain"], ["--model=own.Own"]], ids=str)
def test_each_kind_is_named_by_one_option_and_does_the_work(tmp_path, monkeypatch, chosen: list[str]) -> None:
    """E(D(z)) = 0.75 z, so that each step of size 1 leaves a quarter of the residual, which begins at a quarter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own", raising=False)
    (tmp_path / "own.py").write_text(OWN)
    lean = ["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.callbacks=[ResultWriter]", "--out=run"]
    own = ["--model.codec=own.Patches", "--data=own.Noise", "--trainer.callbacks+=own.Note"]
    assert main(["fit", "-c", JOB, *lean, *chosen, *own, "--model.max_iters=4"]) == 3  # one image could not be read
    notes = [json.loads(line) for line in (tmp_path / "note.json").read_text().splitlines()]
    for _, history in notes:
        assert all(row == pytest.approx([0.25 ** (k + 1)] * len(row), rel=1e-4) for k, row in enumerate(history))
    rows = {row.name: row for row in RunDirectory(tmp_path / "run").rows()}
    assert rows["noise-1"].reason == "It has no noise."
    assert rows["noise-0"].residual == pytest.approx(0.25**4, rel=1e-4) == rows["noise-2"].residual
