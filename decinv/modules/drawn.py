"""Noise of trainings that depends on the step, so that one that was continued equals one that never stopped."""

import os

import numpy as np
import torch
from lightning import LightningModule


class DrawnByStep(LightningModule):
    """A training whose random draws are those of the run's seed, the process and the step, whatever was drawn before.

    Each of the batches whose gradients a step accumulates has draws of its own.
    """

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Seed torch anew."""
        part = batch_idx % self.trainer.accumulate_grad_batches
        seeds = [int(os.environ.get("PL_GLOBAL_SEED", 0)), self.global_rank, self.global_step, part]
        torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
