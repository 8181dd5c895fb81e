"""How processes share a run: each does its part, and none waits for another."""

from decinv.strategies.independent import IndependentStrategy

__all__ = ["IndependentStrategy"]
