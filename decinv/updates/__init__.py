"""Update rules: how one step goes."""

from decinv.updates.anderson import Anderson
from decinv.updates.averaged import AveragedForwardStep
from decinv.updates.base import UpdateFactory, UpdateRule
from decinv.updates.forward import ForwardStep
from decinv.updates.inertial import InertialKM
from decinv.updates.plateau import PlateauForwardStep
from decinv.updates.residual_anderson import ResidualAnderson
from decinv.updates.scheduled import Scheduled, WarmupCosine
from decinv.updates.stock import StockRule, as_rule

__all__ = [
    "Anderson",
    "AveragedForwardStep",
    "ForwardStep",
    "InertialKM",
    "PlateauForwardStep",
    "ResidualAnderson",
    "Scheduled",
    "StockRule",
    "UpdateFactory",
    "UpdateRule",
    "WarmupCosine",
    "as_rule",
]
