"""Inversions under Lightning's trainer."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.plugins import MixedPrecision
from torch import nn

from decinv.batch import Batch
from decinv.codecs import LinearCodec, load_codec
from decinv.modules import DecoderInversion, GradientInversion
from decinv.problems import DecoderProblem
from decinv.solver import Solver
from decinv.status import Status
from decinv.stopping import Stopping
from decinv.updates import Anderson, ForwardStep, InertialKM, Scheduled, WarmupCosine
from decinv.updates.stock import as_rule

RULES = {
    "forward": lambda params: ForwardStep(params, 0.9),
    "inertial": lambda params: InertialKM(params, lr=0.2, momentum=0.3),
    "anderson": Anderson,
    "adam": lambda params: torch.optim.Adam(params, lr=0.05),
    "scheduled": lambda params: Scheduled(
        params, lambda p: torch.optim.Adam(p, lr=0.05), lambda o: WarmupCosine(o, hold_from=0.8, longest=100)
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_the_trainer_gives_what_the_solver_gives_bit_for_bit(fit, images, name: str) -> None:
    codec = LinearCodec()
    chunks = [images(3, 16, 16, 0), images(2, 8, 24, 1), images(1, 16, 16, 2)]
    record, trainer = fit(DecoderInversion(codec, RULES[name], max_iters=30, rtol=1e-4), chunks)
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, as_rule(RULES[name]([point])), Stopping(max_iters=30, rtol=1e-4))
    updates = 0
    assert len(record.results) == len(chunks)
    for chunk, result in zip(chunks, record.results, strict=True):
        solver.start(DecoderProblem(codec, chunk))

        def apply() -> None:
            nonlocal updates
            updates += 1
            solver.rule.step()

        while not solver.done:
            solver.step(apply)
        expected = solver.result()
        assert torch.equal(result.latent, expected.latent)
        assert torch.equal(result.residual, expected.residual)
        assert torch.equal(result.history.nan_to_num(), expected.history.nan_to_num())
        assert torch.equal(result.iterations, expected.iterations)
        assert result.status == expected.status
    assert trainer.global_step == updates, "the trainer counts the updates that were made"
    assert record.steps == [int(result.iterations.max()) for result in record.results], "no step after the last sample's"


def test_a_chunk_that_is_done_early_costs_no_further_step(fit, images) -> None:
    codec = LinearCodec((0.5, 0.5))
    module = DecoderInversion(codec, lambda p: ForwardStep(p, 2.0), max_iters=40)
    record, trainer = fit(module, [images(2), images(3, seed=1)])
    assert record.steps == [2, 2], "I - rho A = 0, so the first step solves it and the second sees that"
    assert trainer.global_step == 2
    assert trainer.current_epoch == 2


def test_max_iters_is_the_length_of_an_epoch(fit, images) -> None:
    module = DecoderInversion(LinearCodec(), lambda p: ForwardStep(p, 0.01), max_iters=7, rtol=0, patience=None)
    record, trainer = fit(module, [images(2), images(1, seed=1)])
    assert record.steps == [7, 7]
    assert trainer.global_step == 2 * 6, "the last iteration of each chunk only evaluates"
    assert record.results[0].status == (Status.MAX_ITERS,) * 2


def test_last_iterate(fit, images) -> None:
    module = DecoderInversion(LinearCodec(), lambda p: ForwardStep(p, 0.5), 3, rtol=0, patience=None, last_iterate=True)
    record, trainer = fit(module, [images(2)])
    assert trainer.global_step == 3
    assert record.results[0].evaluations.tolist() == [4, 4]
    codec, image = LinearCodec(), images(2)
    error = torch.einsum(
        "cd,bdhw->bchw",
        torch.linalg.matrix_power(torch.eye(4) - 0.5 * codec.matrix, 3),
        codec.encode(image) - codec.fixed_point(image),
    )
    torch.testing.assert_close(record.results[0].latent, codec.fixed_point(image) + error, rtol=0, atol=1e-5)


def test_chunks_without_samples_pass_in_no_steps(fit, images) -> None:
    empty = torch.zeros(0, 3, 8, 8)
    record, trainer = fit(DecoderInversion(LinearCodec()), [empty, images(2), empty])
    assert [len(result.status) for result in record.results] == [0, 2, 0]
    assert record.steps[0] == record.steps[2] == 0
    assert trainer.current_epoch == 3
    assert [len(image) for image in record.reconstructions] == [0, 2, 0]


def test_no_chunks_at_all(fit) -> None:
    record, trainer = fit(DecoderInversion(LinearCodec()), [])
    assert record.results == []
    assert trainer.global_step == 0


def test_a_nan_image_costs_its_mates_nothing(fit, images) -> None:
    codec = LinearCodec()
    chunk = codec.decode(codec.fixed_point(images(3)))
    healthy = fit(DecoderInversion(LinearCodec()), [chunk])[0].results[0]
    broken = chunk.clone()
    broken[0, 1, 2, 3] = torch.nan
    result = fit(DecoderInversion(LinearCodec()), [broken])[0].results[0]
    assert result.status[0] == Status.DIVERGED
    assert result.status[1:] == healthy.status[1:]
    torch.testing.assert_close(result.latent[1:], healthy.latent[1:], rtol=0, atol=1e-5)


def test_reconstructions_are_the_decoded_latents_clamped(fit, images) -> None:
    codec = LinearCodec()
    record, _ = fit(DecoderInversion(codec), [images(2), images(1, 8, 8, 1)])
    for result, reconstruction in zip(record.results, record.reconstructions, strict=True):
        assert torch.equal(reconstruction, codec.decode(result.latent).clamp(-1, 1))


def test_a_chunk_is_moved_to_the_device_once_not_once_an_iteration(fit, images, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []
    inner = LightningModule.transfer_batch_to_device

    def count(self: LightningModule, batch: Batch, *args: object) -> Batch:
        moved.append(len(batch.names))
        return inner(self, batch, *args)

    monkeypatch.setattr(LightningModule, "transfer_batch_to_device", count)
    record, _ = fit(DecoderInversion(LinearCodec(), ForwardStep), [images(3), images(2, seed=1)])
    assert moved == [3, 2]
    assert min(record.steps) > 5


class Mode(Callback):
    """See whether the codec is frozen and in evaluation mode at each step."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def on_train_batch_end(self, trainer, pl_module, *args) -> None:
        parts = list(pl_module.codec.modules())
        weights = list(pl_module.codec.parameters())
        self.seen.append(any(part.training for part in parts) or any(w.requires_grad or w.grad is not None for w in weights))


@pytest.mark.parametrize("kind", [DecoderInversion, GradientInversion])
def test_the_codec_stays_frozen(fit, saved, images, kind) -> None:
    codec = load_codec(saved("kl"))
    before = {name: weight.clone() for name, weight in codec.named_parameters()}
    mode = Mode()
    fit(kind(codec, max_iters=3, rtol=0, patience=None), [images(2, 32, 32)], callbacks=[mode])
    assert mode.seen
    assert not any(mode.seen)
    assert all(torch.equal(weight, before[name]) for name, weight in codec.named_parameters())


def test_checkpoints_hold_no_codec_and_no_latent(fit, saved, images, tmp_path: Path) -> None:
    module = DecoderInversion(load_codec(saved("kl")), max_iters=3)
    checkpoint = ModelCheckpoint(tmp_path, save_last=True, save_on_train_epoch_end=True)
    fit(module, [images(1, 32, 32)], callbacks=[checkpoint], enable_checkpointing=True)
    assert module.state_dict() == {}
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert content["state_dict"] == {}
    module.load_state_dict(content["state_dict"], strict=module.strict_loading)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_precisions_that_round_the_latent_are_refused_in_one_sentence(fit, images, precision: str) -> None:
    with pytest.raises(
        ValueError, match=f"32-true, bf16-mixed, 16-mixed, but got {precision},.*set `model.codec.dtype`"
    ) as caught:
        fit(DecoderInversion(LinearCodec()), [images(1)], precision=precision)
    assert "\n" not in str(caught.value)


def sixteen_mixed() -> MixedPrecision:
    """What `16-mixed` is on a device that has it; the CPU's own falls back to bf16."""
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))


PRECISIONS: dict[str, tuple[Callable[[], dict[str, object]], float]] = {
    "32-true": (lambda: {"precision": "32-true"}, 1e-6),
    "bf16-mixed": (lambda: {"precision": "bf16-mixed"}, 2e-2),
    "16-mixed": (lambda: {"plugins": [sixteen_mixed()]}, 3e-3),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_other_precisions_give_float32_latents_and_the_right_numbers(fit, images, precision: str, name: str) -> None:
    codec = LinearCodec()
    options, tolerance = PRECISIONS[precision]
    image = codec.decode(codec.fixed_point(images(2)))

    def run(**trainer: object) -> tuple:
        return fit(DecoderInversion(codec, RULES[name], max_iters=12, rtol=0, patience=None), [image], **trainer)

    record, trainer = run(**options())
    result = record.results[0]
    assert trainer.precision == precision
    assert record.dtypes <= {torch.float32, torch.float64}
    assert result.latent.dtype == result.residual.dtype == torch.float32
    reference = run()[0].results[0]
    error = (result.latent - reference.latent).norm() / reference.latent.norm()
    assert error < tolerance
    assert trainer.global_step == 11
    residual = (codec.encode(codec.decode(result.latent)) - codec.encode(image)).flatten(1).norm(dim=1)
    torch.testing.assert_close(
        residual / codec.encode(image).flatten(1).norm(dim=1), result.residual, rtol=0, atol=2 * tolerance
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_forward_step_in_any_precision_is_not_scaled_down(fit, images, precision: str) -> None:
    """A gradient scaler that unscales what was never scaled would divide the residual by 65536."""
    codec = LinearCodec()
    options, tolerance = PRECISIONS[precision]
    image = images(2)
    module = DecoderInversion(codec, ForwardStep, max_iters=1, rtol=0, patience=None, last_iterate=True)
    result = fit(module, [image], **options())[0].results[0]
    start = codec.encode(image)
    expected = start - (codec.encode(codec.decode(start)) - start)
    assert (result.latent - expected).norm() < tolerance * expected.norm()
    assert (start - expected).norm() > 10 * tolerance * expected.norm()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_gradient_inversion_in_any_precision(fit, images, precision: str) -> None:
    codec = LinearCodec()
    options, tolerance = PRECISIONS[precision]
    image = images(2)
    module = GradientInversion(codec, lambda p: torch.optim.Adam(p, lr=0.1), max_iters=60)
    record, _ = fit(module, [image], **options())
    truth = codec.fixed_point(image)
    assert record.dtypes == {torch.float32}
    assert (record.results[0].latent - truth).norm() < max(tolerance, 0.02) * truth.norm()


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")  # Lightning's model for tests has one
def test_the_data_refuses_models_that_are_no_inversions(fit, images) -> None:
    with pytest.raises(TypeError, match="Expected Chunks to feed an inversion, but got BoringModel"):
        fit(BoringModel(), [images(1)])


def test_a_chunk_may_be_put_further_on_once_before_its_first_step(fit, images) -> None:
    module = DecoderInversion(LinearCodec(), ForwardStep, max_iters=5, rtol=0, patience=None)
    calls: list[tuple[int, int]] = []

    def skip_two() -> None:
        calls.append((module.solver.iteration, module.solver.active))
        module.solver.iteration += 2

    module.resume = skip_two
    record, _ = fit(module, [images(2), images(3, seed=1)])
    assert calls == [(0, 2)]
    assert record.steps == [3, 5]


def test_what_puts_a_chunk_further_on_computes_in_the_trainers_precision(fit, images) -> None:
    module = DecoderInversion(LinearCodec(), ForwardStep, max_iters=2)
    seen: list[bool] = []
    module.resume = lambda: seen.append(torch.is_autocast_enabled("cpu"))
    fit(module, [images(2)], precision="bf16-mixed")
    assert seen == [True]
