"""Where a resumed training left its data."""

from lightning import LightningDataModule


def batches_done(data: LightningDataModule) -> int:
    """Give how many batches each process has taken so far; a step takes several where it accumulates their gradients."""
    trainer = data.trainer
    return trainer.global_step * trainer.accumulate_grad_batches if trainer else 0
