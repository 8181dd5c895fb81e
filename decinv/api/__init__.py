"""Inversion from Python: ``invert``, and update rules from the command line's YAML fragments."""

from decinv.api.front import invert
from decinv.api.updates import load_update

__all__ = ["invert", "load_update"]
