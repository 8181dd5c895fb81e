"""The generator: the same scene for the same numbers, on the 8-bit grid, different for different ones."""

import pytest
import torch
from lightning import Trainer

from decinv.data import ProceduralImages, procedural_batch, procedural_image


def test_a_scene_is_determined_by_its_numbers():
    image = procedural_image(3, 32, seed=5)
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.float32
    assert torch.equal(image, procedural_image(3, 32, seed=5))
    for other in (procedural_image(4, 32, seed=5), procedural_image(3, 32, seed=6), procedural_image(5, 32, seed=3)):
        assert (image - other).abs().mean() > 0.05


def test_global_generators_do_not_matter():
    state = torch.get_rng_state()
    first = procedural_image(0, 16)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(procedural_image(0, 16), first)


def test_pixels_are_on_the_8_bit_grid():
    levels = (procedural_batch(8, 32).double() + 1) * 127.5
    assert (levels - levels.round()).abs().max() < 1e-4
    assert levels.min() > -1e-4
    assert levels.max() < 255 + 1e-4


def test_a_batch_is_a_run_of_scenes():
    batch = procedural_batch(3, 16, seed=2, first=4)
    assert torch.equal(batch, torch.stack([procedural_image(i, 16, 2) for i in (4, 5, 6)]))


def test_scenes_have_the_statistics_of_images():
    """Neighbours are alike, distant pixels are less so, and the whole range from dark to bright is used."""
    images = procedural_batch(24, 64, seed=3)
    centred = images - images.mean((1, 2, 3), keepdim=True)
    near = (centred[..., 1:] - centred[..., :-1]).square().mean()
    far = (centred[..., 32:] - centred[..., :-32]).square().mean()
    assert near < 0.3 * far
    assert images.min() < -0.9
    assert images.max() > 0.9
    assert images.mean((1, 2, 3)).std() > 0.1


@pytest.mark.parametrize(("arguments", "text"), [((-1, 64, 0), "`index`"), ((0, 64, -1), "-1"), ((0, 7, 0), "but got 7")])
def test_wrong_numbers(arguments, text):
    with pytest.raises(ValueError, match=text):
        procedural_image(*arguments)


def test_equal_seeds_would_validate_on_training_images():
    with pytest.raises(ValueError, match="both are 4"):
        ProceduralImages(seed=4, validation_seed=4)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
@pytest.mark.parametrize("workers", [0, 2])
def test_training_takes_each_scene_once(workers):
    loader = ProceduralImages(size=16, batch_size=2, seed=9, num_workers=workers).train_dataloader()
    batches = iter(loader)
    drawn = torch.cat([next(batches) for _ in range(4)])
    expected = procedural_batch(8, 16, seed=9)
    order = [next(i for i, scene in enumerate(expected) if torch.equal(scene, image)) for image in drawn]
    assert sorted(order) == list(range(8))
    if not workers:
        assert order == list(range(8))


def test_a_resumed_training_continues_the_sequence():
    data = ProceduralImages(size=16, batch_size=2, seed=9, num_workers=0)
    data.trainer = Trainer(accelerator="cpu", logger=False, max_epochs=1, enable_progress_bar=False, enable_checkpointing=False)
    data.trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = 3
    assert data.trainer.global_step == 3
    assert torch.equal(next(iter(data.train_dataloader())), procedural_batch(2, 16, seed=9, first=6))


def test_processes_share_the_sequence_out(monkeypatch):
    monkeypatch.setattr(Trainer, "world_size", 2)
    drawn = []
    for rank in range(2):
        monkeypatch.setattr(Trainer, "global_rank", rank)
        data = ProceduralImages(size=16, batch_size=2, seed=9, num_workers=0)
        data.trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
        batches = iter(data.train_dataloader())
        drawn.append(torch.stack([next(batches), next(batches)]))
    assert torch.equal(torch.stack(drawn, 2).flatten(0, 2), procedural_batch(8, 16, seed=9))


def test_validation_is_the_held_out_sequence():
    batches = list(
        ProceduralImages(size=16, batch_size=4, validation_seed=7, validation_count=6, num_workers=0).val_dataloader()
    )
    assert [len(images) for (images,) in batches] == [4, 2]
    assert torch.equal(torch.cat([images for (images,) in batches]), procedural_batch(6, 16, seed=7))
