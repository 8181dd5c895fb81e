"""How well a score tells marked images from unmarked ones: areas under the curve and rates at few false alarms."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.special import bdtr
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat

from decinv.metrics.samples import QUANTILE


class Rate(NamedTuple):
    """A part of 1 with its 95 % interval.

    Attributes:
        value: The measured rate.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


class Detection(NamedTuple):
    """The outcome of a detection.

    Attributes:
        marked: Number of marked images.
        unmarked: Number of unmarked images.
        auc: Area under the ROC curve.
        tpr: Rate of marked images that are found, at each of the asked rates of false alarms.
    """

    marked: int
    unmarked: int
    auc: Rate
    tpr: tuple[Rate, ...]


def auc(marked: Tensor, unmarked: Tensor) -> Rate:
    """Give the area under the ROC curve: the probability that a marked image scores higher, ties half.

    The interval is Wilson's for the smaller number of images: whatever the distributions, the variance of an area A from m and
    n images is at most A (1 - A) / min(m, n) (Birnbaum and Klose, 1957). It is wide, and holds for an area of 1 as well.

    Args:
        marked: Scores ``(m,)`` of marked images, higher where a mark seems likelier, such as ``-distance``.
        unmarked: Scores ``(n,)`` of unmarked images.

    Raises:
        ValueError: If either is empty or contains nan.
    """
    scores, target = ranks(marked, unmarked)
    return wilson(float(binary_auroc(scores, target)), min(len(marked), len(unmarked)))


def tpr_at_fpr(marked: Tensor, unmarked: Tensor, fpr: float) -> Rate:
    """Give the rate of marked images above a threshold that at most the part ``fpr`` of unmarked images exceeds.

    The interval is Wilson's of the marked images, at the lowest and the highest threshold that the true one may be: order
    statistics of the unmarked scores, 95 %. With fewer than ``1 / fpr`` unmarked images the threshold is their highest score,
    and the true rate of false alarms may be above ``fpr``; with fewer than about ``3.7 / fpr`` the lower end is 0.

    Args:
        marked: Scores ``(m,)`` of marked images, higher where a mark seems likelier.
        unmarked: Scores ``(n,)`` of unmarked images.
        fpr: Rate of false alarms, in (0, 1).

    Raises:
        ValueError: If either is empty or contains nan, or ``fpr`` is out of range.
    """
    if not 0 < fpr < 1:
        raise ValueError(f"Expected `fpr` in (0, 1), but got {fpr}.")
    refuse_bad_scores(marked, unmarked)
    thresholds = unmarked.sort(descending=True).values
    alarms = torch.from_numpy(bdtr(torch.arange(len(unmarked)).double().numpy(), len(unmarked), fpr))
    fewest, most = (int((alarms < level).sum()) for level in (0.025, 0.975))
    allowed = int(fpr * len(unmarked) + 1e-9)
    value = float((marked > thresholds[min(allowed, len(unmarked) - 1)]).double().mean())
    # The number of unmarked scores above the true threshold is binomial; where it may be none, or all, nothing is known.
    low = float((marked > thresholds[fewest - 1]).double().mean()) if fewest else 0.0
    high = float((marked > thresholds[most]).double().mean()) if most < len(unmarked) else 1.0
    return Rate(value, wilson(low, len(marked)).low, wilson(high, len(marked)).high)


def wilson(rate: float, count: int) -> Rate:
    """Give a rate that was measured on ``count`` samples with Wilson's 95 % interval."""
    square = QUANTILE**2 / count
    centre = (rate + square / 2) / (1 + square)
    half = (square * rate * (1 - rate) + square**2 / 4) ** 0.5 / (1 + square)
    return Rate(rate, max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half)))


def detect(marked: Tensor, unmarked: Tensor, fprs: Sequence[float] = (0.01, 0.001)) -> Detection:
    """Give all rates; see ``auc`` and ``tpr_at_fpr``."""
    rates = tuple(tpr_at_fpr(marked, unmarked, fpr) for fpr in fprs)
    return Detection(len(marked), len(unmarked), auc(marked, unmarked), rates)


def ranks(marked: Tensor, unmarked: Tensor) -> tuple[Tensor, Tensor]:
    """Give the scores of all images as ranks in [0, 1], and which images are marked, for the functions of ``torchmetrics``.

    Those take scores outside [0, 1] for logits, and many of them become equal.

    Raises:
        ValueError: If either is empty or contains nan.
    """
    refuse_bad_scores(marked, unmarked)
    rank = torch.unique(torch.cat([marked, unmarked]), return_inverse=True)[1]
    target = torch.cat([torch.ones_like(marked), torch.zeros_like(unmarked)]).long()
    return rank.double() / max(1, len(rank)), target


def refuse_bad_scores(marked: Tensor, unmarked: Tensor) -> None:
    """Refuse scores that no rate can be computed of.

    Raises:
        ValueError: If either is empty or contains nan.
    """
    if not len(marked) or not len(unmarked):
        raise ValueError(f"Expected scores of both kinds, but got {len(marked)} marked and {len(unmarked)} unmarked images.")
    bad = int(marked.isnan().sum() + unmarked.isnan().sum())
    if bad:
        raise ValueError(f"Expected scores that are numbers, but {bad} of {len(marked) + len(unmarked)} are nan.")


class DetectionRates(Metric):
    """Gather scores of images; ``compute`` gives their ``Detection``."""

    full_state_update = False
    scores: list[Tensor]
    marks: list[Tensor]

    def __init__(self, fprs: Sequence[float] = (0.01, 0.001)) -> None:
        """Start without an image.

        Args:
            fprs: Rates of false alarms, in (0, 1).
        """
        super().__init__()
        self.fprs = tuple(fprs)
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("marks", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, marked: Tensor) -> None:
        """Add images: their scores ``(B,)``, higher where a mark seems likelier, and whether they are marked, ``(B,)``."""
        self.scores.append(scores)
        self.marks.append(marked.bool())

    def compute(self) -> Detection:
        """Compute all rates.

        Raises:
            ValueError: If there is no marked or no unmarked image, or a score is nan.
        """
        if not len(self.scores):
            raise ValueError(f"Expected at least one image before `compute`, but {type(self).__name__} has seen none.")
        scores, marks = dim_zero_cat(self.scores), dim_zero_cat(self.marks)
        return detect(scores[marks], scores[~marks], self.fprs)
