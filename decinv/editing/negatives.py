"""What the guidance of an edit leads away from, where it is not the empty prompt."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from decinv.diffusion.denoiser import Guidance
from decinv.diffusion.process import Process, Visited
from decinv.diffusion.prompt import Prompt
from decinv.ranges import refuse_below, refuse_not_above


class Negative(ABC):
    """How the negative prompts of an edit are found; there is one for each step of the sampler."""

    @abstractmethod
    def prompts(self, process: Process, source: Sequence[Visited], guidance: Guidance, empty: Prompt) -> list[Prompt]:
        """Give the negative prompt of each step.

        Args:
            process: The process that the source was inverted with, with its prompt, ``B`` samples.
            source: The source's trajectory.
            guidance: The guided network of the edit.
            empty: The negative prompt that the model takes by itself, ``B`` samples.
        """


class SourcePrompt(Negative):
    """Negative-prompt inversion (Miyake et al., arXiv 2305.16807): guidance leads from the source's prompt to the target's.

    The source's own prompt is then not guided at all, so the inversion should be without guidance.
    """

    def prompts(self, process: Process, source: Sequence[Visited], guidance: Guidance, empty: Prompt) -> list[Prompt]:
        """Give the prompt of the source."""
        return [process.condition.prompt] * len(process.steps)


class NullText(Negative):
    """Null-text optimisation (Mokady et al., arXiv 2211.09794).

    Step by step, the negative prompt's embedding is optimised until the guided step with the source's prompt leads to the next
    point of the source's trajectory, which is that of an inversion without guidance. A step starts from the embedding of the
    one before it, and from the point that was really reached. The released code follows the points of naive inversion itself,
    which end at the image's latent, and takes each step's last embedding; here they are the points that the recovered noise is
    sampled along, which end there where the inversion is exact, and the best embedding is taken.
    """

    def __init__(self, iterations: int = 10, lr: float = 1e-2) -> None:
        """Set the optimisation; the defaults are the paper's, without its early stop.

        Args:
            iterations: Iterations of Adam for each step of the sampler, at least 1.
            lr: Its rate in the first step, above 0; it falls to about half in the last one.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_below(1, iterations=iterations)
        refuse_not_above(0, lr=lr)
        self.iterations = iterations
        self.lr = lr

    def prompts(self, process: Process, source: Sequence[Visited], guidance: Guidance, empty: Prompt) -> list[Prompt]:
        """Optimise the embeddings; of those of each step, the best is given."""
        found, embedding = [], empty.embedding.float()
        point, history = source[0].point, None
        for index, (step, goal) in enumerate(zip(process.steps, source, strict=True)):
            shown, times = point / step.scale, point.new_full((len(point),), step.time)
            with torch.no_grad():
                towards = guidance.denoiser.predict(shown, times, process.condition.prompt)
            trial = embedding.clone().requires_grad_()
            adam = torch.optim.Adam([trial], self.lr * (1 - index / (2 * len(process.steps))))
            least = point.new_full((len(point),), torch.inf)
            following, output = goal.following, towards
            for iteration in range(self.iterations + 1):
                with torch.enable_grad():
                    away = guidance.denoiser.predict(shown, times, empty._replace(embedding=trial))
                    guided = guidance.combine(away, towards)
                    reached = step(point, guided, history, process.noise(index))
                    loss = (reached - goal.following).square().flatten(1).sum(1)
                better = loss.detach() < least
                least = torch.where(better, loss.detach(), least)
                embedding = _choose(better, trial, embedding)
                following, output = _choose(better, reached, following), _choose(better, guided, output)
                if iteration < self.iterations:
                    with guidance.denoiser.arithmetic():
                        (gradient,) = torch.autograd.grad(loss.sum(), trial)
                    trial.grad = gradient / reached[0].numel()  # of the mean, which within a network of 16 bits would vanish
                    adam.step()
            found.append(empty._replace(embedding=embedding))
            point, history = following, step.handed_on(point, output)
        return found


def _choose(which: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(which.view(-1, *[1] * (one.ndim - 1)), one.detach(), other)
