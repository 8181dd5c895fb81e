"""Out of memory while a sampler is inverted: a chunk is halved and goes on, and only a sample that does not fit is lost."""

import pytest
import torch
from lightning import Trainer

from decinv.batch import Batch
from decinv.codecs import LinearCodec
from decinv.data import ChunkData
from decinv.diffusion import DDIM, DPMSolver, GaussianDenoiser, Pipeline, Prompt
from decinv.modules import DecodedLatent, SamplerInversion
from decinv.status import Status


class Small(GaussianDenoiser):
    """A network for which memory suffices for a few values at once."""

    def __init__(self, config, most):
        super().__init__(config, 0.5)
        self.most = most

    def _predict(self, point, time, prompt):
        if point.numel() > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return super()._predict(point, time, prompt)


class Normal(Pipeline):
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    channels = 4

    def __init__(self, most):
        self.most = most

    def encode(self, texts, size, device):
        return Prompt(torch.zeros(len(texts), 1, 1, 1, device=device))

    def denoiser(self, device):
        return Small(self.config, self.most)


class Chunks(ChunkData):
    def __init__(self, shapes):
        super().__init__()
        self.shapes = shapes

    total = property(lambda self: sum(count for count, _ in self.shapes))

    def chunks(self, codec):
        first = 0
        for count, side in self.shapes:
            image = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(first)) * 2 - 1
            numbers = tuple(range(first, first + count))
            yield Batch(image, tuple(map(str, numbers)), numbers=numbers)
            first += count


def invert(shapes, most, sampler, tmp_path):
    """Give noise, reconstruction, evaluations and status of each sample, the sizes of the chunks, and the failures."""
    outcomes, sizes, failures = {}, [], []

    class Recording(SamplerInversion):
        def on_train_epoch_end(self):
            if self.batch is None:
                return
            result, images = self.result, self.reconstruction
            sizes.append(len(self.batch.names))
            failures.extend(self.batch.failures)
            assert len(result.noise) == len(result.latent) == len(images) == len(result.evaluations) == len(self.batch.names)
            for index, number in enumerate(self.batch.numbers):
                outcomes[number] = result.noise[index], images[index], result.evaluations[index], result.status[index]

    module = Recording(LinearCodec(), Normal(most), sampler, decoder=DecodedLatent(max_iters=2), guidance=1.0)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(module, datamodule=Chunks(shapes))
    return outcomes, sizes, failures


@pytest.mark.filterwarnings("ignore:.*do not fit into memory together.*")
@pytest.mark.parametrize(("sampler", "rows"), [(DDIM(3), 1), (DPMSolver(3), 3)], ids=["steps", "whole"])
def test_halves_until_it_fits_and_loses_what_does_not(tmp_path, sampler, rows):
    side = LinearCodec().stride * 2
    values = 4 * 2 * 2
    shapes = [(4, side), (1, 2 * side), (1, side)]
    whole, _, _ = invert(shapes, 10**9, sampler, tmp_path)
    outcomes, sizes, failures = invert(shapes, 2 * rows * values, sampler, tmp_path)
    assert sizes == [2, 2, 0, 1]
    assert [(failure.name, failure.status) for failure in failures] == [("4", Status.FAILED)]
    assert sorted(outcomes) == [0, 1, 2, 3, 5]
    for number, (noise, image, evaluations, status) in outcomes.items():
        torch.testing.assert_close(noise, whole[number][0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(image, whole[number][1], rtol=1e-3, atol=1e-3)
        assert int(evaluations) == pytest.approx(
            int(whole[number][2]), rel=0.25
        )  # rounding at the tolerance depends on the batch
        assert status is whole[number][3]
