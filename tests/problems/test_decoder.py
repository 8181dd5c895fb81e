from copy import deepcopy

import pytest
import torch

from decinv.codecs import Codec, LinearCodec, load_codec
from decinv.memory import PeakMemory
from decinv.problems import DecoderProblem, DescentProblem, GradientProblem


@pytest.mark.parametrize("scaling", [(1.0, 0.0), (0.18215, 0.0), (1.5305, 0.0609)])
def test_residual_merit_and_mismatch_in_closed_form(images, scaling: tuple[float, float]) -> None:
    codec = LinearCodec(scaling_factor=scaling[0], shift_factor=scaling[1])
    image = images(2)
    problem = DecoderProblem(codec, image)
    truth, encoded = codec.fixed_point(image), codec.encode(image)
    torch.testing.assert_close(problem.start(), (encoded - scaling[1]) * scaling[0])
    raw = truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    result = problem.evaluate((raw - scaling[1]) * scaling[0])
    expected = torch.einsum("cd,bdhw->bchw", codec.matrix, raw - truth)
    torch.testing.assert_close(result.residual, expected * scaling[0], rtol=1e-4, atol=1e-6)
    merit = expected.flatten(1).norm(dim=1) / encoded.flatten(1).norm(dim=1)
    torch.testing.assert_close(result.merit, merit, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(result.mismatch, codec.decode(raw) - image, rtol=0, atol=1e-5)
    torch.testing.assert_close(problem.latent(problem.start()), encoded, rtol=1e-5, atol=1e-6)


def test_a_codec_that_decodes_to_another_memory_format_costs_no_copy(images, monkeypatch: pytest.MonkeyPatch) -> None:
    codec, image = LinearCodec(), images(4)
    problem = DecoderProblem(codec, image)
    point = problem.start()
    decoded = codec.decode(point).contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(codec, "_encode", lambda image: point)
    monkeypatch.setattr(codec, "_decode", lambda latent: decoded)
    with PeakMemory("cpu") as peak:
        mismatch = problem.evaluate(point).mismatch
    assert mismatch.is_contiguous()
    assert torch.equal(mismatch, decoded - image)
    assert peak.bytes < 1.9 * image.nbytes


def test_a_true_latent_has_no_residual(images) -> None:
    codec = LinearCodec()
    truth = codec.fixed_point(images(2))
    result = DecoderProblem(codec, codec.decode(truth)).evaluate(truth)
    assert result.merit.max() < 1e-6
    assert result.mismatch.abs().max() < 1e-5


def test_there_is_no_graph_and_the_images_are_encoded_once(images, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = LinearCodec()
    calls: list[str] = []
    for name in ("_encode", "_decode"):
        inner = getattr(codec, name)
        monkeypatch.setattr(codec, name, lambda x, n=name, f=inner: calls.append(n) or f(x))
    problem = DecoderProblem(codec, images(2))
    point = problem.start().requires_grad_()
    for _ in range(2):
        assert not any(part.requires_grad for part in problem.evaluate(point))
    assert calls == ["_encode", "_decode", "_encode", "_decode", "_encode"]


def test_selecting_rows_keeps_theirs(images) -> None:
    codec = LinearCodec()
    problem = DecoderProblem(codec, images(4))
    point = problem.start() + 0.1
    before = problem.evaluate(point)
    keep = torch.tensor([1, 3])
    problem.select(keep)
    after = problem.evaluate(point[keep])
    for part, expected in zip(after, before.select(keep), strict=True):
        torch.testing.assert_close(part, expected, rtol=0, atol=1e-6)


def test_an_image_that_encodes_to_nothing_has_a_finite_merit() -> None:
    codec = LinearCodec()
    problem = DecoderProblem(codec, torch.zeros(1, 3, 8, 8))
    assert problem.evaluate(problem.start()).merit.tolist() == [0]


def test_half_precision_codecs_leave_float32(images) -> None:
    codec = LinearCodec()
    with torch.autocast("cpu", torch.bfloat16):
        problem = DecoderProblem(codec, images(2))
        result = problem.evaluate(problem.start())
    assert {part.dtype for part in (problem.start(), *result)} == {torch.float32}


class Clamping(LinearCodec):
    clamps = True


def saturated_image(codec: LinearCodec) -> tuple[torch.Tensor, torch.Tensor]:
    latent = 3 * torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    image = codec.decode(latent).clamp(-1, 1)
    assert 0.05 < (image.abs() == 1).float().mean() < 0.95
    return image, latent


def test_the_true_latent_of_a_saturated_image_is_a_solution_where_the_codec_clamps() -> None:
    for codec, solved in ((Clamping(), True), (LinearCodec(), False)):
        image, latent = saturated_image(codec)
        evaluation = DecoderProblem(codec, image).evaluate(codec.scaling.apply(latent))
        for part in evaluation:
            assert (float(part.abs().max()) < 1e-5) == solved


def test_only_what_falls_short_of_a_saturated_pixel_is_an_error_of_the_gradient_method() -> None:
    codec = Clamping()
    image, latent = saturated_image(codec)
    problem = GradientProblem(codec, image)
    truth = problem.evaluate(codec.scaling.apply(latent))
    assert float(truth.residual.abs().max()) < 1e-4
    assert float(truth.mismatch.abs().max()) < 1e-5
    inside = torch.zeros_like(image)
    beyond = GradientProblem(codec, inside).evaluate(codec.scaling.apply(latent))
    torch.testing.assert_close(beyond.mismatch, codec.decode(latent))


def changed(codec: Codec, image: torch.Tensor, rows: list[bool]) -> DecoderProblem:
    problem = DecoderProblem(codec, image)
    assert problem.change_reference(torch.tensor(rows))
    return problem


def test_another_reference_is_answered_near_it_and_the_others_as_before(saved, images) -> None:
    """The formula, by the codec alone; noise is the same for each sample."""
    codec = load_codec(saved("kl"))
    image = images(3, 32, 32)
    plain, problem = DecoderProblem(codec, image), changed(codec, image, [True, False, True])
    point = plain.start() + 0.1 * torch.randn(plain.start().shape, generator=torch.Generator().manual_seed(3))
    found, before = problem.evaluate(point), plain.evaluate(point)
    for part, other in zip(found, before, strict=True):
        assert torch.equal(part[1], other[1])
    assert torch.equal(found.mismatch, before.mismatch)
    noise = torch.randn(plain.start().shape[1:], generator=torch.Generator().manual_seed(0))
    for row in (0, 2):
        start = plain.start()[row : row + 1]
        other = codec.picture(codec.scaling.invert(start + start.square().mean().sqrt() * noise))
        code = codec.encode(other + found.mismatch[row : row + 1]) - codec.encode(other)
        torch.testing.assert_close(found.residual[row], codec.scaling.scale(code)[0], rtol=1e-4, atol=1e-5)
        merit = code.norm() / codec.encode(image)[row].norm()
        torch.testing.assert_close(found.merit[row], merit, rtol=1e-4, atol=0)
        assert (found.residual[row] - before.residual[row]).abs().max() > 1e-3


def test_a_true_latent_has_no_residual_near_another_image_either(images) -> None:
    codec = LinearCodec()
    truth = codec.fixed_point(images(2))
    result = changed(codec, codec.decode(truth), [True, True]).evaluate(truth)
    assert result.merit.max() < 1e-6


def test_another_reference_stays_with_its_sample_and_is_continued(saved, images) -> None:
    codec = load_codec(saved("kl"))
    image = images(3, 32, 32)
    problem = changed(codec, image, [True, False, True])
    state = deepcopy(problem.state_dict())
    point = problem.start() + 0.1
    expected = problem.evaluate(point)
    again = DecoderProblem(codec, image)
    again.load_state_dict(state)
    assert torch.equal(again.evaluate(point).residual, expected.residual)
    again.load_state_dict({})
    assert torch.equal(again.evaluate(point).residual, DecoderProblem(codec, image).evaluate(point).residual)
    for few, rows in (([2, 1, 0], [0, 2]), ([1, 2], [1]), ([0], [])):
        problem.select(torch.tensor(few))
        assert problem.elsewhere is not None
        assert problem.elsewhere.rows.tolist() == rows
    problem = changed(codec, image, [False, True, False])
    assert problem.change_reference(torch.tensor([True, False, True]))
    torch.testing.assert_close(problem.evaluate(point).residual[[0, 2]], expected.residual[[0, 2]])
    problem.select(torch.tensor([2]))
    alone = changed(codec, image[2:], [True])
    torch.testing.assert_close(problem.evaluate(point[2:]).residual, alone.evaluate(point[2:]).residual, rtol=1e-4, atol=1e-5)
    assert problem.change_reference(torch.tensor([True]))
    torch.testing.assert_close(problem.evaluate(point[2:]).residual, alone.evaluate(point[2:]).residual, rtol=1e-4, atol=1e-5)


def test_a_reference_that_is_not_encoded_to_numbers_is_not_taken(images, monkeypatch: pytest.MonkeyPatch) -> None:
    codec, image = LinearCodec(), images(2)
    problem = DecoderProblem(codec, image)
    point = problem.start() + 0.1
    expected = problem.evaluate(point)
    encode = codec._encode
    monkeypatch.setattr(codec, "_encode", lambda image: encode(image) * torch.tensor([1.0, torch.nan]).view(2, 1, 1, 1))
    assert problem.change_reference(torch.tensor([True, True]))
    monkeypatch.undo()
    found = problem.evaluate(point)
    assert torch.equal(found.residual[1], expected.residual[1])
    torch.testing.assert_close(found.residual[0], expected.residual[0], rtol=1e-4, atol=1e-5)  # E is linear
    assert problem.elsewhere is not None
    assert problem.elsewhere.rows.tolist() == [0]


class Grey(Codec):
    """Three channels that are one, in the same memory, which is the codec's own."""

    stride = 1
    latent_channels = 1

    def _encode(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean(1, keepdim=True)

    def _decode(self, latent: torch.Tensor) -> torch.Tensor:
        self.decoded = latent.clone()
        return self.decoded.expand(-1, 3, -1, -1)


def test_what_a_codec_decoded_is_not_written_to() -> None:
    codec = Grey()
    problem = changed(codec, torch.zeros(2, 3, 4, 4), [True, False])
    point = torch.linspace(-1, 1, 32).reshape(2, 1, 4, 4)
    found = problem.evaluate(point)
    assert torch.equal(codec.decoded, point)
    torch.testing.assert_close(found.residual, point)  # E is linear


def test_gradients_need_no_other_reference(images) -> None:
    problem = DescentProblem(LinearCodec(), images(2))
    assert not problem.change_reference(torch.tensor([True, True]))
    assert problem.elsewhere is None
