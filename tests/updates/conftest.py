"""A linear problem for update rules: the residual of each row is ``A (z - z*)``, and steps are made by hand."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from decinv.problems.base import Evaluation
from decinv.updates.base import UpdateRule

EIGENVALUES = (0.2, 0.5, 0.7, 0.9, 1.1)


class Linear:
    """Rows z with residual ``A (z - z*)`` and pixel residual ``Q (z - z*)``, Q of full column rank; float64.

    The residuals of the rows that are ``astray`` lead away, until a rule that was misled by them has begun anew.
    """

    def __init__(self, rows: int = 3, eigenvalues: tuple[float, ...] = EIGENVALUES, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        size = len(eigenvalues)
        vectors, _ = np.linalg.qr(generator.normal(size=(size, size)))
        self.matrix = vectors @ np.diag(eigenvalues) @ vectors.T
        self.pixels = generator.normal(size=(2 * size, size))
        self.truth = generator.normal(size=(rows, size))
        self.start = self.truth + generator.normal(size=(rows, size))
        self.astray = np.zeros(rows, np.bool_)
        self.wrong = -generator.uniform(0.5, 1.5, size) * np.eye(size)

    def residual(self, point: np.ndarray, astray: np.ndarray | None = None) -> np.ndarray:
        error = point - self.truth
        right = error @ self.matrix.T
        return right if astray is None else np.where(astray[:, None], error @ self.wrong.T, right)

    def mismatch(self, point: np.ndarray) -> np.ndarray:
        return (point - self.truth) @ self.pixels.T

    def run(self, factory: Callable[[list[nn.Parameter]], UpdateRule], steps: int) -> list[np.ndarray]:
        """Give the start and the points ``(rows, size)`` after each step of the rule."""
        parameter = nn.Parameter(torch.empty(0, dtype=torch.float64))
        rule = factory([parameter])
        parameter.data = torch.from_numpy(self.start.copy())
        rule.reset(steps)
        points, astray = [self.start], self.astray
        for _ in range(steps):
            at = parameter.detach().numpy()
            parameter.grad = torch.from_numpy(self.residual(at, astray))
            errors = torch.from_numpy(self.mismatch(at))
            rule.observe(Evaluation(parameter.grad, parameter.grad.norm(dim=1), errors))
            rule.step()
            if astray.any() and rule.misled is not None:
                astray = astray & ~rule.misled
                rule.begin_anew()
            points.append(parameter.detach().numpy().copy())
        self.rule = rule
        return points


@pytest.fixture
def linear() -> type[Linear]:
    return Linear


class Decay:
    """Rows that decay at their own rates, elementwise, so that a row's arithmetic is the same in any batch; float32."""

    def __init__(self, rates: list[float]) -> None:
        self.rates = rates
        generator = torch.Generator().manual_seed(0)
        self.first = torch.randn(len(rates), 4, 3, 3, generator=generator)

    def run(
        self, factory: Callable[[list[nn.Parameter]], UpdateRule], lives: list[int], only: list[int], renew: int | None = None
    ) -> dict[int, torch.Tensor]:
        """Give, for each sample of ``only``, its point after its own number of steps; it leaves the batch then.

        After ``renew`` steps the rule is saved, and a fresh one goes on.
        """
        rows = torch.tensor(only)

        def begin() -> tuple[nn.Parameter, UpdateRule]:
            parameter = nn.Parameter(torch.empty(0))
            rule = factory([parameter])
            parameter.data = self.first[torch.tensor(only)].clone()
            rule.reset(max(lives))
            return parameter, rule

        parameter, rule = begin()
        rates = torch.tensor(self.rates).view(-1, 1, 1, 1)
        final = {}
        for step in range(max(lives[i] for i in only) + 1):
            finished = torch.tensor([lives[i] == step for i in rows.tolist()])
            for row, point in zip(rows[finished].tolist(), parameter.detach()[finished], strict=True):
                final[row] = point.clone()
            if finished.any():
                keep = (~finished).nonzero()[:, 0]
                rule.select(keep)
                parameter.grad = None
                parameter.data = parameter.data[keep]
                rows = rows[keep]
            if not len(rows):
                break
            if step == renew:
                file = io.BytesIO()
                torch.save({"rule": rule.state_dict(), "point": parameter.detach()}, file)
                state = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
                parameter, rule = begin()
                rule.load_state_dict(state["rule"])
                parameter.data = state["point"]
            parameter.grad = rates[rows] * parameter.detach() + 0.1
            rule.observe(Evaluation(parameter.grad, parameter.grad.flatten(1).norm(dim=1), 0.5 * parameter.grad))
            rule.step()
        return final


@pytest.fixture
def assert_rows_independent() -> Callable[..., None]:
    """Check that a sample alone ends where it ends among batch mates that leave at other times."""

    def check(factory: Callable[[list[nn.Parameter]], UpdateRule], atol: float = 0.0) -> None:
        problem, lives = Decay([0.3, 0.9, 0.5, 1.4]), [12, 3, 6, 12]
        together = problem.run(factory, lives, [0, 1, 2, 3])
        assert sorted(together) == [0, 1, 2, 3]
        for row, point in together.items():
            alone = problem.run(factory, lives, [row])[row]
            torch.testing.assert_close(point, alone, rtol=0, atol=atol)
            assert not torch.equal(point, problem.first[row])

    return check


@pytest.fixture
def assert_continues() -> Callable[..., None]:
    """Check that a rule that was saved and loaded ends bit for bit where it ends without, samples leaving before and after."""

    def check(factory: Callable[[list[nn.Parameter]], UpdateRule]) -> None:
        problem, lives = Decay([0.3, 0.9, 0.5, 1.4]), [12, 3, 7, 12]
        expected = problem.run(factory, lives, [0, 1, 2, 3])
        for renew in (0, 1, 2, 3, 5, 6, 8, 11):
            found = problem.run(factory, lives, [0, 1, 2, 3], renew)
            assert all(torch.equal(found[row], point) for row, point in expected.items()), f"after {renew} steps"

    return check
