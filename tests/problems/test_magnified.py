"""Small pixel errors are magnified before an encoder answers them that would lose them in its rounding."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from decinv.benchmark.stress.impaired import CoarseCodec
from decinv.codecs import LinearCodec, load_codec
from decinv.convolutions import TF32
from decinv.metrics.latent import nmse_db
from decinv.problems import DecoderProblem
from decinv.problems.decoder import MAGNIFIED, DescentProblem, magnification
from decinv.result import Result
from decinv.solver import Solver
from decinv.status import Status
from decinv.stopping import Stopping
from decinv.updates import Anderson, ForwardStep, InertialKM, Scheduled
from decinv.updates.base import UpdateFactory

BF16 = torch.finfo(torch.bfloat16).eps


class Rounded(LinearCodec):
    """A linear codec whose encoder rounds its latents to bfloat16, and may say so."""

    says_so = True

    @property
    def rounding(self) -> float:
        return BF16 if self.says_so else super().rounding

    def _encode(self, image: Tensor) -> Tensor:
        return super()._encode(image).bfloat16().float()


def chunk(codec: LinearCodec) -> tuple[Tensor, Tensor]:
    """Give images, and their latents."""
    latent = torch.randn(4, codec.latent_channels, 6, 6, generator=torch.Generator().manual_seed(3))
    return codec.decode(latent), latent


def solved(codec: LinearCodec, image: Tensor, update: UpdateFactory = Anderson, **stopping: object) -> Result:
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, update([point]), Stopping(**({"max_iters": 40, "rtol": 0.0, "patience": None} | stopping)))
    solver.start(DecoderProblem(codec, image))
    while not solver.done:
        solver.step()
    return solver.result()


def test_factors_bring_small_errors_to_one_size_and_leave_others_alone() -> None:
    noise = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    noise /= noise.square().mean((1, 2, 3), keepdim=True).sqrt()
    sizes = torch.tensor([1e-3, 2.5e-4, MAGNIFIED, 0.3, 0.0])
    factors = magnification(noise * sizes.view(-1, 1, 1, 1))
    torch.testing.assert_close(factors, torch.tensor([10.0, 40.0, 1.0, 1.0, 1.0]))
    assert magnification(torch.full((1, 3, 2, 2), torch.inf)).tolist() == [1.0]


def test_small_errors_of_a_coarse_decoder_count_for_no_more_than_others() -> None:
    """What it rounds is alike at neighbours, as what JPEG adds is, which is larger."""
    codec = Rounded()
    problem = DecoderProblem(codec, chunk(codec)[0])
    smooth = torch.ones(3, 3, 8, 8) * torch.tensor([0.9 * MAGNIFIED, 1.1 * MAGNIFIED, 0.3]).view(-1, 1, 1, 1)
    alike = 7 / 8  # the last line and column have no next one
    torch.testing.assert_close(problem.likeness(smooth), torch.tensor([0.0, alike, alike]))
    codec.says_so = False
    torch.testing.assert_close(DecoderProblem(codec, chunk(codec)[0]).likeness(smooth), torch.full((3,), alike))


def test_a_coarse_encoder_leads_to_latents_far_below_its_rounding() -> None:
    """Without, errors below half of a rounding unit, 2^-9 of a latent value of 1 to 2, are answered by 0: some -55 dB."""
    codec = Rounded((0.4, 0.6, 0.8, 1.0))
    image, latent = chunk(codec)
    lost, found = (nmse_db(solved(codec, image, partial(Anderson, magnify=on)).latent, latent) for on in (False, True))
    assert (lost > -75).all()
    assert (found < -110).all()
    codec.says_so = False
    assert torch.equal(nmse_db(solved(codec, image).latent, latent), lost)


def test_a_magnified_residual_vanishes_and_is_reported() -> None:
    codec = Rounded((0.4, 0.6, 0.8, 1.0))
    image, _ = chunk(codec)
    result = solved(codec, image, rtol=1e-6)
    assert result.status == (Status.CONVERGED,) * 4
    problem = DecoderProblem(codec, image)
    problem.magnifies = True
    torch.testing.assert_close(problem.evaluate(result.latent).merit, result.residual)


def test_the_formula_holds_at_the_image_and_near_another() -> None:
    codec = Rounded((0.5, 0.9, 1.0))
    image, latent = chunk(codec)
    problem = DecoderProblem(codec, image)
    problem.magnifies = True
    problem.change_reference(torch.tensor([False, True, False, False]))
    assert problem.elsewhere is not None
    point = latent + torch.tensor([1e-3, 2e-3, 5e-3, 0.5]).view(-1, 1, 1, 1)
    error = codec.decode(point) - image
    factor = magnification(error).view(-1, 1, 1, 1)
    near = torch.cat([image[:1], problem.elsewhere.image, image[2:]])
    expected = (codec.encode(near + factor * error) - codec.encode(near)) / factor
    found = problem.evaluate(point)
    torch.testing.assert_close(found.residual, expected, rtol=1e-3, atol=1e-5)
    assert (factor.flatten() > 1).tolist() == [True, True, True, False]
    assert torch.equal(found.mismatch, error)


@pytest.mark.parametrize("kind", [DecoderProblem, DescentProblem])
def test_nothing_changes_for_an_encoder_that_rounds_finely(saved, images, kind: type[DecoderProblem]) -> None:
    codec = load_codec(saved("kl"))
    image = codec.decode(codec.encode(images(2, 32, 32)))
    plain, magnifying = kind(codec, image), kind(codec, image)
    magnifying.magnifies = True
    for one, other in zip(plain.evaluate(plain.start()), magnifying.evaluate(plain.start()), strict=True):
        assert torch.equal(one, other)


def test_only_the_default_rule_asks_for_it() -> None:
    codec = Rounded()
    image, _ = chunk(codec)
    rules: dict[str, UpdateFactory] = {
        "default": Anderson,
        "without": partial(Anderson, magnify=False),
        "forward": ForwardStep,
        "momentum": InertialKM,
        "scheduled": lambda params: Scheduled(
            params, Anderson, partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0, total_iters=0)
        ),
    }
    asks = {}
    for name, rule in rules.items():
        point = nn.Parameter(torch.empty(0))
        problem = DecoderProblem(codec, image)
        Solver(point, rule([point]), Stopping(5)).start(problem)
        asks[name] = problem.magnifies
    assert asks == {"default": True, "without": False, "forward": False, "momentum": False, "scheduled": True}


def test_the_rounding_of_codecs_is_that_of_what_they_compute_in(saved, monkeypatch) -> None:
    path = saved("tiny")
    fine = torch.finfo(torch.float32).eps
    assert LinearCodec().rounding == load_codec(path).rounding == fine
    assert LinearCodec().to(torch.float64).rounding == torch.finfo(torch.float64).eps
    assert load_codec(path, "float16").rounding == torch.finfo(torch.float16).eps
    assert load_codec(path).to(torch.bfloat16).rounding == BF16
    assert CoarseCodec(load_codec(path), TF32).rounding == TF32
    rounds = load_codec(path)
    rounds.tf32 = True
    assert rounds.rounding == fine, "on the CPU there is no TF32"
    monkeypatch.setattr(type(rounds), "device", torch.device("cuda"))
    assert rounds.rounding == TF32


def test_autocast_makes_a_codec_coarse() -> None:
    codec = LinearCodec()
    image, latent = chunk(codec)
    problem = DecoderProblem(codec, image)
    wrong = {}
    for problem.magnifies in (False, True):
        with torch.autocast("cpu", torch.bfloat16):
            residual, _, mismatch = problem.evaluate(latent)
        assert 1e-4 < mismatch.square().mean().sqrt() < MAGNIFIED / 3
        exact = codec.encode(mismatch)
        wrong[problem.magnifies] = float((residual - exact).norm() / exact.norm())
    assert wrong[True] < wrong[False] / 3
    assert torch.equal(problem.evaluate(latent).residual, codec.encode(codec.decode(latent)) - problem.target)
