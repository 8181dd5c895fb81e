"""Decoder inversion as a fixed-point problem: find z with E(D(z)) = E(x); by gradients where iterations leave its start."""

from typing import NamedTuple

import torch
from torch import Tensor

from decinv.codecs.base import Codec
from decinv.problems.base import Evaluation, Problem, neighbour_correlation, norms, sizes, spread
from decinv.problems.gradient import GradientProblem

PROBE = 0.01
"""Length of the step along which the decoder's curvature is probed, over that of the latent."""

COARSE = 1e-4
"""Rounding error above which a codec loses small pixel errors: that of 16 bits and of TF32 is."""

MAGNIFIED = 0.01
"""Root mean square that pixel errors below it are magnified to for such a codec, of images in [-1, 1]."""


class References(NamedTuple):
    """The images near which the encoder answers a pixel error in place of x, of the R samples that have one.

    Attributes:
        rows: The indices of these among the A active samples, ``(R,)``.
        image: The images b, ``(R, 3, H, W)``.
        code: Their raw latents E(b), ``(R, ...)``.
    """

    rows: Tensor
    image: Tensor
    code: Tensor

    def select(self, keep: Tensor) -> "References":
        """Keep those of the samples ``keep`` (indices)."""
        rows, kept = (keep[:, None] == self.rows).nonzero(as_tuple=True)
        return References(rows, self.image[kept], self.code[kept])


class DecoderProblem(Problem):
    """``T(z) = E(D(z)) - E(x)``, started at ``z = E(x)`` (Hong et al., NeurIPS 2024, arXiv 2409.18442).

    E(x) is computed once. Any z with D(z) = x is a zero of T. The merit is the relative residual
    ``||E(D(z)) - E(x)|| / ||E(x)||`` of raw latents, absolute where E(x) is 0; the residual is in scaled latents. Where the
    codec ``clamps``, D(z) stands for the clamped image: x was clamped too, so that is what makes the true latent of an image
    with saturated pixels a zero.

    E undoes D near images like those that it was trained on. Near others, as smooth or nearly white ones may be, T(z) can lead
    away from the solution. After ``change_reference`` E answers the same pixel error near another image b instead::

        T(z) = E(b + D(z) - x) - E(b),   b = D(E(x) + s n)

    with s the root mean square of E(x) and n white noise of variance 1, the same for all samples. Any z with D(z) = x is a zero
    of this T, too. The merit is its length relative to ``||E(x)||`` then, and ``stated_merit`` that of the first T. A subclass
    whose ``evaluate`` has residuals of its own overrides both methods, as ``DescentProblem`` does the first.

    An E that computes in 16 bits or TF32 loses small pixel errors in its rounding. Where ``magnifies`` is set and the codec's
    ``rounding`` is as coarse, it is asked about larger ones, and its answer is divided by as much, and so is what it rounded::

        T(z) = (E(x + a (D(z) - x)) - E(x)) / a,   a = max(1, 0.01 / rms(D(z) - x))

    The merit is of this T then; in exact arithmetic it is the same to first order in ``a (D(z) - x)``.
    """

    def __init__(self, codec: Codec, image: Tensor) -> None:
        """Encode the images.

        Args:
            codec: The codec whose decoder is inverted.
            image: Images with shape ``(B, 3, H, W)`` in [-1, 1].
        """
        self.codec = codec
        self.image = image
        self._images = image
        with torch.no_grad():
            self.target = codec.encode(image).clone()  # a codec may write each output to the same memory
        self.size = sizes(self.target, torch.float64)
        self.elsewhere: References | None = None
        self._rounding = codec.rounding

    def start(self) -> Tensor:
        """Give E(x), scaled."""
        return self.codec.scaling.apply(self.target)

    @torch.no_grad()
    def evaluate(self, point: Tensor) -> Evaluation:
        """Run one decode and one encode."""
        decoded = self.codec.picture(self.latent(point))
        mismatch = torch.empty_like(self.image, memory_format=torch.contiguous_format)  # also where a codec decodes to another
        torch.sub(decoded, self.image, out=mismatch)
        residual = self._answer(decoded, mismatch)
        return Evaluation(self.codec.scaling.scale(residual), norms(residual, torch.float64) / self.size, mismatch)

    def _answer(self, decoded: Tensor, mismatch: Tensor) -> Tensor:
        """Ask E about pixel errors ``mismatch`` of ``decoded`` images, ``(A, 3, H, W)``: T(z), raw, ``(A, ...)``."""
        factor = magnification(mismatch) if self.magnifies and self._is_coarse() else None
        target = self.target
        if factor is not None:
            decoded = torch.addcmul(self.image, spread(factor, mismatch), mismatch)
        if self.elsewhere is not None:
            rows, image, code = self.elsewhere
            error = mismatch[rows] if factor is None else mismatch[rows] * spread(factor[rows], mismatch)
            decoded, target = decoded.index_put((rows,), image + error), target.index_put((rows,), code)
        answer = self.codec.encode(decoded) - target
        return answer if factor is None else answer / spread(factor, answer)

    def _is_coarse(self) -> bool:
        """Whether the codec rounds coarsely, as a finer one does under autocast."""
        device = self.codec.device.type
        mixes = device != "meta" and torch.is_autocast_enabled(device)
        return max(self._rounding, torch.finfo(torch.get_autocast_dtype(device)).eps if mixes else 0.0) > COARSE

    def select(self, keep: Tensor) -> None:
        """Drop the samples that are not in ``keep``."""
        if self.elsewhere is not None:
            self.elsewhere = self.elsewhere.select(keep)
        self.image, self.target, self.size = self.image[keep], self.target[keep], self.size[keep]

    def likeness(self, mismatch: Tensor) -> Tensor:
        """Give the correlation of neighbouring pixels' errors: near 0 where 8 bits were rounded to, 0.6 to 0.8 behind JPEG.

        What a coarse D rounds is alike at neighbours as well, so it is 0 for errors that are as small there.
        """
        alike = neighbour_correlation(mismatch)
        return torch.where(magnification(mismatch) > 1, 0.0, alike) if self._is_coarse() else alike

    @torch.no_grad()
    def change_reference(self, rows: Tensor) -> bool:
        """Decode and encode the image b of some samples; one that is not encoded to finite numbers keeps x."""
        index = rows.to(self.target.device).nonzero()[:, 0]
        start = self.codec.scaling.apply(self.target[index])
        noise = torch.randn(start.shape[1:], generator=torch.Generator().manual_seed(0)).to(start)
        image = self.codec.picture(self.latent(start + spread(start.flatten(1).square().mean(1).sqrt(), start) * noise))
        code = self.codec.encode(image)
        finite = code.flatten(1).isfinite().all(1)
        found = References(index[finite], image[finite], code[finite])
        if self.elsewhere is not None:
            kept = ~rows.to(index.device)[self.elsewhere.rows]
            found = References(*(torch.cat([old[kept], new]) for old, new in zip(self.elsewhere, found, strict=True)))
        self.elsewhere = found
        return True

    def stated_merit(self, point: Tensor, rows: Tensor) -> Tensor:
        """Run one decode and one encode, beside that of the images."""
        return self._of(DecoderProblem, rows).evaluate(point).merit

    def state_dict(self) -> dict[str, Tensor]:
        """Give the other images, if there are any."""
        return {} if self.elsewhere is None else self.elsewhere._asdict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over the other images."""
        self.elsewhere = References(**{name: part.to(self.image.device) for name, part in state.items()}) if state else None

    def descent(self, rows: Tensor) -> Problem:
        """Take steps down the squared pixel error; see ``DescentProblem``."""
        return self._of(DescentProblem, rows)

    def _of(self, kind: "type[DecoderProblem]", rows: Tensor) -> "DecoderProblem":
        """State a problem of some of the first samples (indices) anew, which magnifies as this one does."""
        problem = kind(self.codec, self._images[rows])
        problem.magnifies = self.magnifies
        return problem

    def latent(self, point: Tensor) -> Tensor:
        """Undo the scaling."""
        return self.codec.scaling.invert(point)


class DescentProblem(DecoderProblem):
    """``E(D(z)) = E(x)``, whose residual is a step down ``f(z) = ||D(z) - x||^2 / 2`` instead: ``alpha J^T (D(z) - x)``.

    J is the decoder's Jacobian and alpha the Cauchy step of the first point, ``||g||^2 / ||J g||^2`` for ``g = grad f``, which
    minimises f along g where D is linear; one decode more tells ``J g``, by a finite difference. A rule that mixes such
    steps by the pixel residual, as ``decinv.updates.Anderson`` does, solves nonlinear least squares on a Krylov space of J^T J:
    it needs no encoder that undoes the decoder, but a backward pass. Gradients are taken sample by sample, so that memory holds
    the graph of one sample's decoder at a time. Merit and mismatch are those of ``DecoderProblem``.
    """

    def __init__(self, codec: Codec, image: Tensor) -> None:
        """Encode the images.

        Args:
            codec: The codec whose decoder is inverted.
            image: Images with shape ``(B, 3, H, W)`` in [-1, 1].
        """
        super().__init__(codec, image)
        self.rate: Tensor | None = None

    @torch.no_grad()
    def evaluate(self, point: Tensor) -> Evaluation:
        """Run a decode and its backward pass for each sample, and one encode; at first one decode more."""
        gradient, mismatch = torch.empty_like(point), torch.empty_like(self.image)
        for row in range(len(point)):
            alone = slice(row, row + 1)
            downhill = GradientProblem(self.codec, self.image[alone]).evaluate(point[alone])
            gradient[alone], mismatch[alone] = downhill.residual / 2, downhill.mismatch
        decoded = self.image + mismatch
        if self.codec.clamps:
            decoded = decoded.clamp(-1, 1)
            mismatch = decoded - self.image
        if self.rate is None:
            self.rate = self._cauchy_step(point, gradient, mismatch)
        merit = norms(self._answer(decoded, mismatch), torch.float64) / self.size
        return Evaluation(gradient * spread(self.rate, point), merit, mismatch)

    def _cauchy_step(self, point: Tensor, gradient: Tensor, mismatch: Tensor) -> Tensor:
        """Give ``||g||^2 / ||J g||^2`` of each sample, ``(B,)``; 1 where D does not move along g."""
        length = norms(gradient)
        part = spread(torch.where(length > 0, PROBE * norms(point) / length, 0.0), point)
        rates = []
        for row in range(len(point)):
            alone = slice(row, row + 1)
            step = part[alone] * gradient[alone]
            moved = self.codec.picture(self.latent(point[alone] + step)) - self.image[alone] - mismatch[alone]
            rates.append((norms(step) / norms(moved)).square())
        rate = torch.cat(rates)
        return torch.where(rate.isfinite() & (rate > 0), rate, 1.0)

    def select(self, keep: Tensor) -> None:
        """Drop the samples that are not in ``keep``."""
        super().select(keep)
        self.rate = None if self.rate is None else self.rate[keep]

    def change_reference(self, rows: Tensor) -> bool:
        """Change nothing: gradients lead downhill near any image."""
        del rows
        return False

    def state_dict(self) -> dict[str, Tensor]:
        """Give the step sizes, once they are known."""
        return {} if self.rate is None else {"rate": self.rate}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over the step sizes."""
        rate = state.get("rate")
        self.rate = None if rate is None else rate.to(self.image.device)


def magnification(mismatch: Tensor) -> Tensor:
    """Give what pixel errors ``(A, 3, H, W)`` are multiplied by before a coarse E sees them, at least 1, ``(A,)``."""
    size = norms(mismatch) / mismatch[:1].numel() ** 0.5
    return torch.where(size > 0, MAGNIFIED / size, 1.0).clamp_min(1.0)
