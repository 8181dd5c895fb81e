"""Inversions of samplers on normal data, where every step is affine and every answer known."""

import pytest
import torch
from diffusers import DDIMInverseScheduler

from decinv import Status
from decinv.diffusion import BDIA, BELM, DDIM, EDICT, DPMSolver, Euler, EulerAncestral, FireFlow, FlowEuler, FlowMidpoint
from decinv.methods import (
    Algorithm1,
    Algorithm2,
    DualConditionalInversion,
    ExactInversion,
    GuidedNewton,
    GuidedNewtonReleased,
    NaiveInversion,
    NewtonKrylov,
    PairInversion,
    SPDInv,
    Stepwise,
    WholeTrajectory,
)
from decinv.metrics import nmse_db
from decinv.problems.newton_krylov import NewtonKrylovProblem
from decinv.updates import ForwardStep
from decinv.updates.averaged import AveragedForwardStep
from decinv.updates.plateau import PlateauForwardStep


def nmse(found, truth):
    return 10 ** (nmse_db(found, truth) / 10)


def affine(process, step, row=0):
    """Give the slope of a step on each value, from two points."""
    zero = torch.zeros(2, 3, 4, 4)
    ends = [step(point, process.predict(step, point)) for point in (zero, zero + 1)]
    return (ends[1] - ends[0])[row]


@pytest.mark.parametrize(
    "sampler",
    [DDIM(10), DPMSolver(6, 1), DPMSolver(6, 2), Euler(8), EulerAncestral(3, "trailing")],
    ids=["ddim", "dpm1", "dpm2", "euler", "ancestral"],
)
def test_exact_inversion_finds_the_noise(make, noise, sampler):
    process = make(sampler)
    latent = process.generate(noise)
    process.spent.zero_()
    result = ExactInversion().invert(process, latent)
    assert result.status == (Status.CONVERGED,) * 2
    assert nmse(result.latent, noise).max() < (1e-5 if process.noise(0) is not None else 1e-6)
    assert result.residual.max() <= 2e-6
    assert torch.equal(result.evaluations, process.spent)
    problems = 1 if getattr(sampler, "order", 1) == 2 else sampler.steps
    assert ExactInversion().problems(process.trajectory) == problems
    assert len(result.history) == (~result.history.isnan().all(1)).sum()


def test_flow_is_inverted(make, noise):
    process = make(FlowEuler(4), prediction_type="flow_prediction")
    result = ExactInversion().invert(process, process.generate(noise))
    assert nmse(result.latent, noise).max() < 1e-6


@pytest.mark.parametrize(("sampler", "evaluations"), [(FlowMidpoint(6), 12), (FireFlow(11), 12)], ids=["midpoint", "fireflow"])
def test_flows_of_second_order_are_inverted_naively_by_their_own_rule_and_exactly(make, noise, sampler, evaluations):
    process = make(sampler, scale=1.0, prediction_type="flow_prediction")
    latent = process.generate(noise)
    process.spent.zero_()
    naive = NaiveInversion().invert(process, latent)
    assert naive.evaluations.tolist() == [evaluations] * 2
    torch.testing.assert_close(naive.latent, process.along(process.trajectory.reversed()).generate(latent))
    assert len(naive.history) == NaiveInversion().problems(process.trajectory) == 1
    exact = ExactInversion().invert(process, latent)
    assert exact.status == (Status.CONVERGED,) * 2
    assert nmse(exact.latent, noise).max() < 1e-9 < nmse(naive.latent, noise).min()
    euler = make(FlowEuler(evaluations), scale=1.0, prediction_type="flow_prediction")
    first_order = NaiveInversion().invert(euler, euler.generate(noise))
    assert nmse(naive.latent, noise).max() < nmse(first_order.latent, noise).min()


def test_finer_grids_are_for_diffusions(make, noise):
    process = make(FlowMidpoint(3), prediction_type="flow_prediction")
    with pytest.raises(ValueError, match="that of a flow"):
        NaiveInversion(100).invert(process, noise)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_other_predictions_are_inverted(make, noise, prediction):
    process = make(DDIM(8), prediction_type=prediction)
    result = ExactInversion().invert(process, process.generate(noise))
    assert nmse(result.latent, noise).max() < 1e-6


def test_published_tolerances_of_ddim_50_and_2m_10(make, noise):
    for sampler, bound in ((DDIM(50), 1e-6), (DPMSolver(10), 1e-4)):
        process = make(sampler)
        assert nmse(ExactInversion().invert(process, process.generate(noise)).latent, noise).max() < bound


def test_a_forward_step_contracts_as_the_step_says(make, noise):
    process = make(DDIM(2, "trailing"), scale=1.0, low=0.5, high=0.5)
    latent = process.generate(noise)
    method = Stepwise(ForwardStep, max_iters=6, rtol=0.0, patience=None, extrapolate=False)
    step = process.steps[-1]
    rate = abs(1 - float(affine(process, step)[0, 0, 0]) / step.point)
    residual = method.invert(process, latent).history[:6, 0]
    torch.testing.assert_close(residual[1:3] / residual[:2], torch.full((2,), rate), rtol=1e-3, atol=1e-3)


def test_algorithm_1_contracts_by_its_step_size(make, noise):
    process = make(DDIM(2, "trailing"), scale=1.0, low=0.5, high=0.5)
    latent = process.generate(noise)
    slope = float(affine(process, process.steps[-1])[0, 0, 0])
    method = Algorithm1(lambda params: PlateauForwardStep(params, lr=0.5, warmup=2), tolerance=0.0, max_iters=4)
    residual = method.invert(process, latent).history[:4, 0]
    rates = torch.tensor([1 - 0.25 * slope, 1 - 0.5 * slope, 1 - 0.5 * slope])
    torch.testing.assert_close(residual[1:] / residual[:-1], rates, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("gradient", [False, True])
def test_algorithm_1_ends_at_its_threshold(make, noise, gradient):
    process = make(DDIM(10))
    result = Algorithm1(gradient=gradient).invert(process, process.generate(noise))
    assert result.status == (Status.CONVERGED,) * 2
    assert result.residual.max() <= 1e-3**0.5
    assert 1e-9 < nmse(result.latent, noise).max() < 1e-2


def test_default_takes_a_fifth_of_the_evaluations_of_algorithm_1(make, noise):
    process = make(DDIM(50))
    latent = process.generate(noise)
    ours, published = ExactInversion().invert(process, latent), Algorithm1(tolerance=2e-5).invert(process, latent)
    assert nmse(ours.latent, noise).max() <= nmse(published.latent, noise).min()
    assert 5 * ours.evaluations.max() <= published.evaluations.min()


def test_naive_inversion_is_the_explicit_step(make, noise):
    process = make(DDIM(6))
    latent = process.generate(noise)
    expected = latent
    for step in reversed(process.steps):
        expected = (expected - step.output * process.predict(step, expected)) / step.point
    process.spent.zero_()
    result = NaiveInversion().invert(process, latent)
    torch.testing.assert_close(result.latent, expected, rtol=1e-4, atol=1e-4)
    assert result.evaluations.tolist() == [6, 6]


def test_naive_inversion_is_better_on_a_finer_grid(make, noise):
    process = make(DDIM(20, "trailing"), scale=1.0)
    latent = make(DDIM(500, "trailing"), scale=1.0).generate(noise)
    coarse, fine = (NaiveInversion(steps).invert(process, latent) for steps in (None, 200))
    assert nmse(fine.latent, noise).max() < nmse(coarse.latent, noise).min() / 5
    assert fine.evaluations.tolist() == [200, 200]
    assert NaiveInversion(200).problems(process.trajectory) == 200
    every = NaiveInversion(1000).invert(process, latent)  # all training times, though the scheduler has an offset
    assert nmse(every.latent, noise).max() < nmse(coarse.latent, noise).min() / 5


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_finer_grids_that_do_not_divide_the_times_are_as_good(make, noise, spacing):
    """Of 600 ``leading`` steps ``DDIMScheduler`` begins at time 599; of 300 each step ends 3 times earlier, not 3.3."""
    process = make(Euler(100), scale=1.0, timestep_spacing=spacing, steps_offset=0)
    latent = make(Euler(500), scale=1.0, timestep_spacing=spacing, steps_offset=0).generate(noise)
    every, *others = (NaiveInversion(steps).invert(process, latent).latent for steps in (1000, 300, 600))
    for found in others:
        assert float(nmse(found, every).max()) < 2e-3


def test_renoise_averages_the_iterates(make, noise):
    process = make(DDIM(4))
    latent = process.generate(noise)
    step, iterates = process.steps[-1], [latent]
    for _ in range(4):
        point = iterates[-1]
        iterates.append((latent - step.output * process.predict(step, point)) / step.point)
    expected = torch.stack(iterates[2:]).mean(0)
    method = Stepwise(
        lambda params: AveragedForwardStep(params, first=2), 4, rtol=0.0, patience=None, last_iterate=True, extrapolate=False
    )
    course = method.course(process, latent)
    solver = method.solver(torch.nn.Parameter(torch.empty(0)))
    solver.begin(course)
    while not solver.results:
        solver.step()
    torch.testing.assert_close(solver.results[0].latent, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("first", "rounds"), [(9, 10), (1, 5)], ids=["late", "early"])
@pytest.mark.parametrize("sampler", [DDIM(4, "trailing"), EulerAncestral(4, "trailing")], ids=["ddim", "ancestral"])
def test_renoise_is_a_loop_with_the_numbers_of_its_code(make, noise, sampler, first, rounds):
    """Written down once more over all steps: noise is predicted ``rounds`` times, and that from the ``first`` on averaged."""
    process = make(sampler, scale=1.0)
    latent = process.generate(noise)
    process.spent.zero_()
    method = Stepwise(
        lambda params: AveragedForwardStep(params, first=first), rounds, 0.0, None, last_iterate=True, extrapolate=False
    )
    result = method.invert(process, latent)
    assert result.evaluations.tolist() == [4 * (rounds + 1)] * 2
    point = latent
    for index in reversed(range(4)):
        step, target, known = process.steps[index], process.before_noise(index, point), []
        for _ in range(rounds):
            known.append(step.eps(point, process.predict(step, point)))
            point = step.back(target, known[-1])
        point = step.back(target, torch.stack(known[first - 1 :]).mean(0))
    torch.testing.assert_close(result.latent, point / process.trajectory.start, rtol=1e-4, atol=1e-4)


def test_iterations_of_ancestral_steps_start_from_the_noisy_point(make, noise):
    process = make(EulerAncestral(3, "trailing"))
    latent = process.generate(noise)
    point = latent
    for index in (2, 1, 0):
        step, target = process.steps[index], process.before_noise(index, point)
        point = step.back(target, step.eps(point, process.predict(step, point)))
    method = Stepwise(ForwardStep, 1, rtol=0.0, patience=None, last_iterate=True, extrapolate=False)
    found = method.invert(process, latent).latent
    torch.testing.assert_close(found, point / process.trajectory.start, rtol=1e-4, atol=1e-4)


def test_algorithm_2_is_not_exact_and_the_whole_trajectory_is(make, noise):
    process = make(DPMSolver(10), scale=1.0)
    latent = process.generate(noise)
    naive, published, whole = (
        nmse(method.invert(process, latent).latent, noise).max()
        for method in (NaiveInversion(), Algorithm2(), WholeTrajectory())
    )
    assert whole < 1e-6 < published < naive


@pytest.mark.parametrize("method", [ExactInversion, WholeTrajectory])
def test_a_trajectory_that_stalled_near_its_end_is_begun_anew(make, noise, method):
    process = make(DPMSolver(10), scale=1.0)
    latent = process.generate(noise)
    latent[1] = torch.nan  # which is given up for good
    options = {"rtol": 0.0, "patience": 5}
    once, again = (method(restarts=restarts, **options).invert(process, latent) for restarts in (0, 2))
    assert once.status == again.status == (Status.STALLED, Status.DIVERGED)
    naive, first = 10, int(once.evaluations[0]) - 10
    assert again.evaluations[0] >= naive + first + 2 * 6 * 10
    assert once.evaluations[1] == again.evaluations[1] == naive + 10
    assert nmse(again.latent, noise)[0] < 1e-6
    assert again.residual[0] <= once.residual[0]


def test_steps_have_one_start(make, noise):
    process = make(DDIM(3))
    latent = process.generate(noise)
    result = ExactInversion(max_iters=1, restarts=4).invert(process, latent)
    assert result.evaluations.tolist() == [3, 3]


def test_picard_iteration_ends_where_anderson_does(make, noise):
    process = make(DPMSolver(4), low=0.6, high=1.2, scale=1.0)
    latent = process.generate(noise)
    result = WholeTrajectory(ForwardStep, max_iters=200).invert(process, latent)
    assert result.status == (Status.CONVERGED,) * 2
    assert nmse(result.latent, noise).max() < 1e-6
    assert result.evaluations.max() <= 4 * 201 + 4


def test_newton_needs_one_step_where_the_network_is_affine(make, noise):
    process = make(DDIM(3, "trailing"), low=0.5, high=0.9)
    latent = process.generate(noise)
    result = NewtonKrylov(products=12, rtol=1e-5).invert(process, latent)
    assert nmse(result.latent, noise).max() < 1e-6
    assert result.iterations.max() <= 2 * 3
    # Naive inversion, and an evaluation an iteration; of these, the last one of each step needs no products.
    assert torch.equal(result.evaluations, 3 + result.iterations + (result.iterations - 3) * 2 * 12)


def test_newton_costs_a_sample_the_same_beside_one_that_is_inverted_already(make, noise):
    process = make(DDIM(1, "trailing"), low=0.5, high=0.9)
    latent, step = process.generate(noise), process.steps[0]
    start = torch.stack([noise[0], noise[1] + 0.1])
    process.spent.zero_()
    evaluation = NewtonKrylovProblem(process, step, latent, start, 12, 1e-5).evaluate(start)
    assert process.spent.tolist() == [1, 1 + 2 * 12]
    assert not evaluation.residual[0].any()
    torch.testing.assert_close(start - evaluation.residual, torch.stack([noise[0], noise[1]]), rtol=1e-3, atol=1e-3)


def test_methods_for_first_order_refuse_others(make, noise):
    process = make(DPMSolver(6))
    for method in (Stepwise(), Algorithm1(), GuidedNewton(), GuidedNewtonReleased()):
        with pytest.raises(ValueError, match="WholeTrajectory"):
            method.invert(process, noise)


@pytest.mark.parametrize("sampler", [EDICT(20), BDIA(20), BELM(20)], ids=["edict", "bdia", "belm"])
def test_samplers_of_pairs_have_a_method_of_their_own(make, noise, sampler):
    process = make(sampler)
    latent, process.companion = process.generate_pair(noise)
    process.spent.zero_()
    result = PairInversion().invert(process, latent)
    growth = 30 if isinstance(sampler, BELM) else 1  # of the rounding of the second point
    assert nmse(result.latent, noise).max() < 1e-10 * growth**2
    assert result.status == (Status.CONVERGED,) * 2
    assert result.residual.max() < 1e-5 * growth
    assert result.evaluations.tolist() == [40 if isinstance(sampler, EDICT) else 19] * 2
    process.companion = None
    lone = PairInversion().invert(process, latent)
    again = process.generate(lone.latent)
    torch.testing.assert_close(lone.residual, ((again - latent).flatten(1).norm(dim=1) / latent.flatten(1).norm(dim=1)))
    for method in (NaiveInversion(), ExactInversion(), Stepwise(), WholeTrajectory(), Algorithm1(), Algorithm2()):
        with pytest.raises(ValueError, match="PairInversion"):
            method.invert(process, latent)
    with pytest.raises(ValueError, match="ExactInversion"):
        PairInversion().invert(make(DDIM(3)), latent)


def test_nothing_diverges_in_silence(make, noise):
    process = make(DDIM(5), scale=30.0, low=0.05, high=0.1)
    latent = process.generate(noise)
    latent[1] = torch.nan
    result = Stepwise(ForwardStep, max_iters=30).invert(process, latent)
    assert result.status[0] in (Status.DIVERGED, Status.STALLED, Status.MAX_ITERS)
    assert result.status[1] is Status.DIVERGED
    assert result.latent[0].isfinite().all()


def test_samples_do_not_depend_on_each_other(make, noise):
    process = make(DDIM(6))
    latent = process.generate(noise)
    both = ExactInversion().invert(process, latent)
    keep = torch.tensor([1])
    alone = make(DDIM(6))
    alone.condition = process.condition.select(keep)
    result = ExactInversion().invert(alone, latent[keep])
    torch.testing.assert_close(both.latent[keep], result.latent, rtol=1e-4, atol=1e-4)


def test_no_samples_have_no_noise(make, noise):
    process = make(DDIM(3))
    process.condition = process.condition.select(torch.tensor([], dtype=torch.long))
    process.spent = process.spent[:0]
    assert ExactInversion().invert(process, noise[:0]).latent.shape == noise[:0].shape


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_naive_inversion_is_that_of_diffusers(make, noise, kind):
    options = {"prediction_type": kind, "timestep_spacing": "leading"}
    process = make(DDIM(20), scale=1.0, **options)
    theirs = DDIMInverseScheduler(**process.trajectory.config, clip_sample=False)
    theirs.set_timesteps(20)
    steps = {step.time: step for step in process.steps}
    point = process.generate(noise)
    found = NaiveInversion().invert(process, point).latent
    for time in theirs.timesteps:
        point = theirs.step(process.predict(steps[float(time)], point), time, point).prev_sample
    torch.testing.assert_close(found, point, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("fine", [None, 50])
def test_naive_inversion_of_euler_is_that_of_ddim_in_other_coordinates(make, noise, kind, fine):
    options = {"prediction_type": kind, "timestep_spacing": "leading", "set_alpha_to_one": True, "scale": 1.0}
    ddim, euler = make(DDIM(20), **options), make(Euler(20), **options)
    latent = ddim.generate(noise)
    torch.testing.assert_close(euler.generate(noise), latent, rtol=1e-3, atol=1e-4)
    found, other = (NaiveInversion(fine).invert(process, latent).latent for process in (ddim, euler))
    torch.testing.assert_close(other, found, rtol=1e-3, atol=1e-3)


def test_naive_inversion_of_a_flow_is_eulers_method_backwards(make, noise):
    process = make(FlowEuler(4), prediction_type="flow_prediction")
    point = latent = process.generate(noise)
    for step in reversed(process.steps):
        point = point + (step.start.sigma - step.end.sigma) * process.predict(step, point)
    torch.testing.assert_close(NaiveInversion().invert(process, latent).latent, point)


@pytest.mark.parametrize("kind", [GuidedNewton, GuidedNewtonReleased])
def test_newton_steps_are_refused_by_their_own_name(kind):
    with pytest.raises(ValueError, match="Expected `iters` to be at least 1, but got 0"):
        kind(iters=0)


@pytest.mark.parametrize("kind", [Algorithm1, Algorithm2, DualConditionalInversion, SPDInv])
def test_tolerances_are_refused_by_their_own_name(kind):
    with pytest.raises(ValueError, match="Expected `tolerance` to be at least 0, but got -1"):
        kind(tolerance=-1)


def test_a_finer_grid_ends_where_the_sampler_begins(make, noise):
    process = make(DDIM(10), scale=1.0, timestep_spacing="leading")
    latent = process.generate(noise)
    coarse, fine = (nmse(NaiveInversion(steps).invert(process, latent).latent, noise).max() for steps in (None, 250))
    assert process.steps[0].time == 901
    assert fine < coarse / 3


def test_a_finer_grid_of_what_is_no_ddim_is_refused(make, noise):
    for sampler, message in ((FlowEuler(4), "that of a flow"), (EulerAncestral(3), "add no noise")):
        process = make(sampler, prediction_type="flow_prediction" if isinstance(sampler, FlowEuler) else "epsilon")
        with pytest.raises(ValueError, match=message):
            NaiveInversion(100).invert(process, noise)
    flow = DPMSolver(5).trajectory({"use_flow_sigmas": True, "prediction_type": "epsilon", "flow_shift": 3.0})
    with pytest.raises(ValueError, match="that of a flow"):
        NaiveInversion(100).check(flow)


@pytest.mark.parametrize("sampler", [DDIM(10), DPMSolver(6, 2), Euler(8)], ids=["ddim", "dpm2", "euler"])
@pytest.mark.parametrize("reaches_data", [True, False])
def test_networks_that_predict_data_are_inverted(make, noise, sampler, reaches_data):
    process = make(sampler, scale=1.0, prediction_type="sample", set_alpha_to_one=reaches_data)
    result = ExactInversion().invert(process, process.generate(noise))
    assert result.status == (Status.CONVERGED,) * 2
    assert nmse(result.latent, noise).max() < 1e-6


def test_newton_inverts_a_step_that_hangs_on_its_start_by_the_network_alone(make, noise):
    process = make(DDIM(10, "trailing"), scale=1.0, prediction_type="sample", set_alpha_to_one=True)
    assert process.steps[-1].point == 0
    result = NewtonKrylov(products=12).invert(process, process.generate(noise))
    assert nmse(result.latent, noise).max() < 1e-6


def test_a_trajectory_that_begins_with_noise_alone_is_inverted(make, noise):
    process = make(DDIM(5, "trailing"), prediction_type="v_prediction", rescale_betas_zero_snr=True)
    assert process.steps[0].start.alpha == 0
    result = ExactInversion().invert(process, process.generate(noise))
    assert nmse(result.latent, noise).max() < 1e-4


def test_released_gnri_is_a_loop_of_sign_steps(make, noise):
    """Written down once more, a sample at a time."""
    process = make(EulerAncestral(4, "trailing"))
    latent = process.generate(noise)
    process.spent.zero_()
    result = GuidedNewtonReleased(2).invert(process, latent)
    assert result.evaluations.tolist() == [8, 8]
    for row in range(2):
        rows, point = torch.tensor([row]), latent[row : row + 1]
        for index in reversed(range(4)):
            step, sigma = process.steps[index], process.steps[index].start.sigma
            added = process.noise(index, rows)
            target = point if added is None else point - step.noise * added
            z, best, lowest = point, None, torch.inf
            for _ in range(2):
                image = step.back(target, step.eps(z, process.predict(step, z, rows)))
                objective = (image - z).abs() + 0.05 * ((image - latent[row : row + 1]) / sigma).square()
                if objective.mean() < lowest:
                    best, lowest = image, objective.mean()
                z = z - objective.sum() / (z - image).sign() / z.numel()
            point = best
        torch.testing.assert_close(result.latent[row], point[0] / process.trajectory.start, rtol=1e-3, atol=1e-4)


def test_methods_that_need_data_in_the_first_point_say_so(make, noise):
    process = make(FlowEuler(4), prediction_type="flow_prediction")
    for method in (SPDInv(), DualConditionalInversion()):
        with pytest.raises(ValueError, match="it is noise alone"):
            method.invert(process, noise)


def test_algorithm_2_knows_models_of_fewer_training_times(make, noise):
    process = make(DPMSolver(5), scale=1.0, low=0.5, num_train_timesteps=200)
    latent = process.generate(noise)
    published, naive = (nmse(method.invert(process, latent).latent, noise).max() for method in (Algorithm2(), NaiveInversion()))
    assert published < naive / 4


def test_algorithm_2_refuses_noise_and_flows(make, noise):
    for process in (make(EulerAncestral(3)), make(FlowEuler(4), prediction_type="flow_prediction")):
        with pytest.raises(ValueError, match="Expected a sampler"):
            Algorithm2().invert(process, noise)
