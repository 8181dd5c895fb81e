"""A memory plan: what an inversion needs at its peak, known before it runs, without weights, computing or a GPU."""

from decinv.plan.prediction import MOST_SAMPLES, Plan, plan, refuse_to_plan

__all__ = ["MOST_SAMPLES", "Plan", "plan", "refuse_to_plan"]
