"""How the inversion of one sample ended, and what that means in one sentence."""

from enum import IntEnum


class Status(IntEnum):
    """Outcome of one sample; ``status.sentence`` explains it to a person."""

    RUNNING = 0
    CONVERGED = 1
    STALLED = 2
    MAX_ITERS = 3
    DIVERGED = 4
    UNREADABLE = 5
    FAILED = 6

    @property
    def sentence(self) -> str:
        """The likely cause and, where there is one, the remedy."""
        return _SENTENCES[self]

    @property
    def ok(self) -> bool:
        """Whether the sample has a usable latent that was not made worse by iterating."""
        return self in (Status.CONVERGED, Status.STALLED, Status.MAX_ITERS)


_SENTENCES = {
    Status.RUNNING: "Still iterating.",
    Status.CONVERGED: "The relative residual fell below `rtol`.",
    Status.STALLED: "Residual and pixel error stopped falling before `rtol`, as they do at the rounding noise of codec and "
    "image; the best iterate is reported.",
    Status.MAX_ITERS: "`max_iters` evaluations were spent; the best iterate is reported. Raise `max_iters` for a smaller "
    "residual.",
    Status.DIVERGED: "Errors grew, without bound or with nothing better than the start found, or stopped being finite; the "
    "best finite iterate is reported. Lower the step size, or raise the codec's precision.",
    Status.UNREADABLE: "The input could not be read or is no valid image; there is no latent.",
    Status.FAILED: "The computing failed, as when one image alone does not fit into memory; there is no latent.",
}
