"""A finished sample costs nothing: on a set whose iteration counts vary more than tenfold, no evaluation is wasted."""

import pytest
import torch
from lightning import Trainer

from decinv.batch import Batch
from decinv.codecs import LinearCodec
from decinv.data import ChunkData
from decinv.modules import DecoderInversion
from decinv.problems import DecoderProblem
from decinv.updates import Anderson, ForwardStep

EIGENVALUES = (0.1, 0.3, 0.6, 0.95)


class Mixed(ChunkData):
    """Latents along one eigenvector each, so that the forward step converges at the rate 1 - a of its eigenvalue a."""

    total = 32

    def chunks(self, codec):
        _, vectors = torch.linalg.eigh(codec.matrix.double())
        scale = torch.linspace(0.1, 0.5, 8)
        for start in range(4):
            latent = torch.stack([vectors[:, (start + i) % 4].float()[:, None, None] * scale[i] for i in range(8)])
            latent = latent.expand(-1, -1, 2, 2).contiguous()
            yield Batch(codec.decode(latent), tuple(f"{start}/{i}" for i in range(8)), latent)


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*")  # Lightning 2.6 calls what torch 2.13 deprecates
@pytest.mark.filterwarnings("ignore:.*in eval mode.*")  # the codec is frozen on purpose
@pytest.mark.filterwarnings("ignore:You have overridden `transfer_batch_to_device`.*")  # on purpose
@pytest.mark.parametrize("rule", [ForwardStep, Anderson])
def test_useful_evaluations_are_all_evaluations(rule, monkeypatch):
    spent, useful, iterations = [], [], []
    evaluate = DecoderProblem.evaluate
    monkeypatch.setattr(DecoderProblem, "evaluate", lambda self, point: spent.append(len(point)) or evaluate(self, point))

    class Recording(DecoderInversion):
        def on_train_epoch_end(self):
            result = self.result
            assert all(status.name == "CONVERGED" for status in result.status)
            useful.append(int(result.evaluations.sum()))
            iterations.extend(result.iterations.tolist())

    model = Recording(LinearCodec(EIGENVALUES), lambda params: rule(params, lr=1.0), max_iters=200, rtol=1e-4)
    Trainer(accelerator="cpu", max_epochs=-1, logger=False, enable_progress_bar=False, enable_model_summary=False,
            enable_checkpointing=False).fit(model, datamodule=Mixed())  # fmt: skip
    assert len(iterations) == 32
    if rule is ForwardStep:
        assert max(iterations) >= 10 * min(iterations)
    assert sum(useful) / sum(spent) >= 0.95
    assert sum(useful) == sum(spent)
