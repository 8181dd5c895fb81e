"""Update rules: how one step goes."""

from decinv.updates.anderson import Anderson
from decinv.updates.averaged import AveragedForwardStep
from decinv.updates.base import UpdateFactory, UpdateRule
from decinv.updates.forward import ForwardStep
from decinv.updates.inertial import InertialKM
from decinv.updates.plateau import PlateauForwardStep
from decinv.updates.residual_anderson import ResidualAnderson
from decinv.updates.scheduled import Scheduled, WarmupCosine

__all__ = [
    "Anderson",
    "AveragedForwardStep",
    "ForwardStep",
    "InertialKM",
    "PlateauForwardStep",
    "ResidualAnderson",
    "Scheduled",
    "UpdateFactory",
    "UpdateRule",
    "WarmupCosine",
]
