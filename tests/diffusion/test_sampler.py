"""Every step equals diffusers'."""

import diffusers
import pytest
import torch
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift

from decinv.diffusion import (
    BELM,
    DDIM,
    DPMSolver,
    Euler,
    EulerAncestral,
    FireFlow,
    FlowEuler,
    FlowMidpoint,
    RectifiedFlow,
    Stable3Euler,
)
from decinv.errors import own_sentence

SPACINGS = ("linspace", "leading", "trailing")
SAMPLERS = {
    "ddim": lambda spacing: DDIM(12, spacing),
    "ddim50": lambda spacing: DDIM(50, spacing),
    "ddim offset": lambda spacing: DDIM(12, spacing, offset=4),
    "dpm1": lambda spacing: DPMSolver(10, 1, spacing),
    "dpm2": lambda spacing: DPMSolver(10, 2, spacing),
    "dpm2-20": lambda spacing: DPMSolver(20, 2, spacing),
    "euler": lambda spacing: Euler(10, spacing),
}


def compare(sampler, scheduler, seed=0, tokens=None, config=None):
    """Take the scheduler's own steps with random outputs of a network, and ours beside them; give the largest error."""
    trajectory = sampler.trajectory(config or dict(scheduler.config), tokens)
    generator = torch.Generator().manual_seed(seed)
    point = torch.randn(2, 3, 4, generator=generator) * scheduler.init_noise_sigma
    assert len(trajectory.steps) == len(scheduler.timesteps) == sampler.steps
    torch.testing.assert_close(torch.tensor(trajectory.start), torch.as_tensor(scheduler.init_noise_sigma).float())
    worst, history = 0.0, None
    for step, time in zip(trajectory.steps, scheduler.timesteps, strict=True):
        assert step.time == float(time)
        output = torch.randn(point.shape, generator=generator)
        shown = scheduler.scale_model_input(point, time) if hasattr(scheduler, "scale_model_input") else point
        torch.testing.assert_close(point / step.scale, shown)
        theirs = scheduler.step(output, time, point).prev_sample
        ours = step(point, output, history)
        worst = max(worst, float((ours - theirs).norm() / theirs.norm()))
        point, history = theirs, step.data(point, output)
    return worst


@pytest.mark.parametrize(
    ("name", "prediction"),
    [(name, prediction) for name in SAMPLERS for prediction in ("epsilon", "v_prediction", "sample")],
)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_steps_equal_those_of_diffusers(config, name, spacing, prediction):
    sampler = SAMPLERS[name](spacing)
    scheduler = sampler.scheduler(config | {"prediction_type": prediction})
    fresh = type(scheduler).from_config(scheduler.config)
    fresh.set_timesteps(sampler.steps)
    assert compare(sampler, fresh) <= 1e-5


def test_an_offset_is_that_of_diffusers(config):
    config = config | {"timestep_spacing": "leading"}
    times = [[step.time for step in DDIM(5, offset=offset).trajectory(config).steps] for offset in (0, 4, None)]
    assert times[:2] == [[800, 600, 400, 200, 0], [804, 604, 404, 204, 4]]
    assert times[2] == [time + config["steps_offset"] for time in times[0]]


@pytest.mark.parametrize(
    "options",
    [
        {"use_karras_sigmas": True},
        {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"},
        {"final_sigmas_type": "sigma_min", "lower_order_final": False},
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"},
        {"euler_at_final": True, "final_sigmas_type": "sigma_min"},
        {"solver_type": "heun"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_the_scheduler_count(config, options):
    sampler = DPMSolver(20)
    fresh = type(sampler.scheduler(config | options))(**sampler.scheduler(config | options).config)
    fresh.set_timesteps(20)
    assert fresh.config.items() >= options.items()
    assert compare(sampler, fresh) <= 1e-5


@pytest.mark.parametrize("make", [lambda sigmas: DPMSolver(10, sigmas=sigmas), lambda sigmas: Euler(10, sigmas=sigmas)])
@pytest.mark.parametrize("sigmas", ["times", "karras", "exponential"])
def test_noise_levels_can_be_chosen(config, make, sigmas):
    sampler = make(sigmas)
    other = {"use_karras_sigmas": sigmas != "karras"}  # the sampler's choice goes before the pipeline's
    fresh = make(None).scheduler_class.from_config(
        sampler.scheduler(config).config,
        use_karras_sigmas=sigmas == "karras",
        use_exponential_sigmas=sigmas == "exponential",
    )
    fresh.set_timesteps(10)
    assert compare(sampler, fresh, config=config | other) <= 1e-5
    changes = torch.tensor([step.start.alpha / step.start.sigma for step in sampler.trajectory(config).steps]).log().diff()
    even = changes / changes.mean()
    assert bool((even - 1).abs().max() < 1e-3) == (sigmas == "exponential")


@pytest.mark.parametrize("sigmas", ["karras", "exponential"])
def test_bounds_of_levels_of_another_scheduler_count(config, sigmas):
    """``DPMSolverMultistepScheduler`` does not take them, but reads them in the config that it was made from."""
    euler = diffusers.EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, sigma_min=0.05, sigma_max=10.0)
    saved = {**euler.config, "_class_name": "EulerDiscreteScheduler"}
    scheduler = diffusers.DPMSolverMultistepScheduler.from_config(saved, **{f"use_{sigmas}_sigmas": True})
    scheduler.set_timesteps(10)
    assert float(scheduler.sigmas[0]) == pytest.approx(10)
    assert compare(DPMSolver(10, sigmas=sigmas), scheduler, config=saved) <= 1e-5
    flow = diffusers.FlowMatchEulerDiscreteScheduler.from_config({"sigma_max": 0.9, f"use_{sigmas}_sigmas": True})
    flow.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    flow.init_noise_sigma = 1.0
    assert compare(FlowEuler(4), flow) <= 1e-5


def test_ddim_at_zero_signal(config):
    options = config | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "clip_sample": False}
    known = {key: value for key, value in options.items() if key != "skip_prk_steps"}
    scheduler = diffusers.DDIMScheduler(**known, prediction_type="v_prediction")
    scheduler.set_timesteps(10)
    assert compare(DDIM(10), scheduler) <= 1e-5
    with pytest.raises(ValueError, match="rescale_betas_zero_snr"):
        DDIM(10).trajectory(options)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_ancestral_steps_with_known_noise(config, spacing, prediction):
    sampler = EulerAncestral(4, spacing)
    scheduler = sampler.scheduler(config | {"prediction_type": prediction})
    trajectory = sampler.trajectory(config | {"prediction_type": prediction})
    generator = torch.Generator().manual_seed(0)
    point = torch.randn(2, 3, generator=generator) * trajectory.start
    for step, time in zip(trajectory.steps, scheduler.timesteps, strict=True):
        scheduler.scale_model_input(point, time)
        output, state = torch.randn(point.shape, generator=generator), generator.get_state()
        theirs = scheduler.step(output, time, point, generator=generator).prev_sample
        added = torch.randn(point.shape, generator=torch.Generator().set_state(state))
        torch.testing.assert_close(step(point, output, noise=added), theirs, rtol=1e-5, atol=1e-5)
        point = theirs
    with pytest.raises(ValueError, match="noise"):
        trajectory.steps[0](point, point)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_steps(shift):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    scheduler.init_noise_sigma = 1.0
    assert compare(FlowEuler(4), scheduler) <= 1e-5


def test_flow_times_shift_with_the_size_of_the_image():
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.set_timesteps(sigmas=[1.0, 0.5], mu=calculate_shift(1024))
    scheduler.init_noise_sigma = 1.0
    assert compare(FlowEuler(2), scheduler, tokens=1024) <= 1e-5
    with pytest.raises(ValueError, match="tokens"):
        FlowEuler(2).trajectory({"use_dynamic_shifting": True})


@pytest.mark.parametrize("count", [1, 4])
def test_rectified_flow_moves_along_its_velocity_towards_data(count):
    point, velocity = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0))
    steps = RectifiedFlow(count).trajectory({"prediction_type": "epsilon"}).steps
    assert [step.time for step in steps] == [1000 * (1 - index / count) for index in range(count)]
    for step in steps:
        torch.testing.assert_close(step(point, velocity), point + velocity / count)
    torch.testing.assert_close(steps[0].data(point, velocity), point + velocity)


def test_samplers_of_continuous_times_may_have_more_steps_than_the_training(config):
    for sampler in (Euler(1500, spacing="linspace"), FlowEuler(1500)):
        steps = sampler.trajectory(config).steps
        assert len(steps) == 1500
        assert all(step.end.sigma / step.end.alpha < step.start.sigma / max(step.start.alpha, 1e-12) for step in steps)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("kind", [FlowEuler, FlowMidpoint, FireFlow, Stable3Euler])
def test_flows_from_data_to_noise_are_refused(kind, steps):
    with pytest.raises(ValueError, match=r"from noise to data, but .* set `invert_sigmas` to false"):
        kind(steps).trajectory({"invert_sigmas": True})


def test_what_cannot_be_inverted_is_refused(config):
    with pytest.raises(ValueError, match="stochastic_sampling"):
        FlowEuler(2).trajectory({"stochastic_sampling": True})
    with pytest.raises(ValueError, match="thresholding"):
        DPMSolver(5).trajectory(config | {"thresholding": True})
    with pytest.raises(ValueError, match="prediction_type"):
        DDIM(5).trajectory(config | {"prediction_type": "score"})
    with pytest.raises(ValueError, match="steps"):
        Euler(0)
    with pytest.raises(ValueError, match="`steps` to be at most 1000, the times of the training, but got 1001"):
        DDIM(1001).trajectory(config)
    for sampler in (DPMSolver(1000, spacing="linspace"), Euler(1001, spacing="leading")):
        with pytest.raises(ValueError, match=r"each lower the noise, but some of 100\d do not; take fewer"):
            sampler.trajectory(config)
    with pytest.raises(ValueError, match="`offset` to be at least 0, but got -1"):
        DDIM(5, offset=-1)
    with pytest.raises(ValueError, match="begin at 1000; take fewer steps"):
        DDIM(1000).trajectory(config | {"timestep_spacing": "leading", "steps_offset": 1})


@pytest.mark.parametrize("kind", [DDIM, Euler, BELM])
def test_times_below_0_are_refused(config, kind):
    """Rounding errors add one to 61 ``trailing`` ones, of which diffusers reads the level of the last time."""
    with pytest.raises(ValueError, match="at least 0, but the scheduler's go on to -1 for 61 steps; take another number"):
        kind(61, "trailing").trajectory(config)
    assert len(kind(62, "trailing").trajectory(config).steps) == 62


@pytest.mark.parametrize("name", ["EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler", "KarrasVeScheduler"])
@pytest.mark.parametrize("sampler", [DDIM(5), DPMSolver(5), Euler(5), EulerAncestral(5)])
def test_schedulers_of_another_kind_are_refused(name, sampler):
    config = dict(getattr(diffusers, name)().config) | {"_class_name": name}
    with pytest.raises(ValueError, match=f"{name}"):
        sampler.trajectory(config)


@pytest.mark.parametrize("sampler", [DDIM(5), DPMSolver(5), EulerAncestral(5)])
def test_networks_that_are_told_continuous_times_are_refused_by_samplers_of_others(config, sampler):
    config |= {"timestep_type": "continuous", "prediction_type": "v_prediction", "_class_name": "EulerDiscreteScheduler"}
    with pytest.raises(ValueError, match=f"continuous times.*but got {type(sampler).__name__}; take `Euler`"):
        sampler.trajectory(config)
    assert Euler(5).trajectory(config).steps[0].time < 2  # log(sigma) / 4


def test_flows_take_schedulers_of_flows_only(config):
    for name in ("DDIMScheduler", "EDMEulerScheduler"):
        with pytest.raises(ValueError, match=f"flow matching for FlowEuler, but got {name}"):
            FlowEuler(4).trajectory(config | {"_class_name": name})


def test_rectified_flows_go_the_other_way_than_flow_matching(config):
    sampler, other = RectifiedFlow(1), config | {"_class_name": "PNDMScheduler"}
    sampler.refuse_kind(other)
    assert len(sampler.trajectory(other).steps) == 1
    with pytest.raises(ValueError, match=r"velocity towards data for RectifiedFlow.*FlowMatchEulerDiscreteScheduler"):
        sampler.trajectory({"_class_name": "FlowMatchEulerDiscreteScheduler"})
    with pytest.raises(ValueError, match=r"velocity towards data for RectifiedFlow.*`prediction_type` 'v_prediction'"):
        sampler.trajectory(other | {"prediction_type": "v_prediction"})


def test_predictions_that_do_not_go_with_the_levels_are_refused(config):
    for sampler, options in (
        (DDIM(5), {"prediction_type": "flow_prediction"}),
        (Euler(5), {"prediction_type": "flow_prediction"}),
        (DPMSolver(5), {"prediction_type": "flow_prediction"}),
        (DPMSolver(5), {"prediction_type": "v_prediction", "use_flow_sigmas": True}),
    ):
        with pytest.raises(ValueError, match=f"with these levels, but got '{options['prediction_type']}'"):
            sampler.trajectory(config | options)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: DDIM(2.5), "steps"),
        (lambda: DPMSolver(0), "steps"),
        (lambda: DDIM(5, "even"), "spacing"),
        (lambda: DPMSolver(5, order=3), "order"),
        (lambda: DPMSolver(5, sigmas="lu"), "sigmas"),
        (lambda: Euler(5, sigmas="lu"), "sigmas"),
    ],
)
def test_arguments_that_no_step_has_are_refused(make, name):
    with pytest.raises(ValueError, match=f"Expected `{name}` to be"):
        make()


def test_a_last_step_that_goes_nowhere_changes_nothing(config):
    """The levels of Karras et al. end with the smallest one of the training already."""
    options = {"final_sigmas_type": "sigma_min", "lower_order_final": False, "use_karras_sigmas": True}
    for solver_type in ("heun", "midpoint"):
        last = DPMSolver(5).trajectory(config | options | {"solver_type": solver_type}).steps[-1]
        assert last.start == pytest.approx(last.end)
        assert (last.point, last.output, last.history) == pytest.approx((1, 0, 0), abs=1e-12)


def test_log_linear_levels_of_euler(config):
    config = {key: value for key, value in config.items() if key not in ("set_alpha_to_one", "skip_prk_steps", "clip_sample")}
    scheduler = diffusers.EulerDiscreteScheduler(**config | {"interpolation_type": "log_linear"})
    scheduler.set_timesteps(6)
    assert compare(Euler(6), scheduler) <= 1e-5


@pytest.mark.parametrize("tokens", [256, 4096])
def test_times_of_dpm_solver_are_shifted_by_the_size_of_the_image(config, tokens):
    config = {key: value for key, value in config.items() if key not in ("set_alpha_to_one", "skip_prk_steps", "clip_sample")}
    options = {"use_dynamic_shifting": True, "use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    scheduler = diffusers.DPMSolverMultistepScheduler(**config | options, algorithm_type="dpmsolver++")
    scheduler.set_timesteps(6, mu=calculate_shift(tokens, 256, 4096, 0.5, 1.16))  # what Stable Diffusion 3 takes without any
    assert compare(DPMSolver(6), scheduler, tokens=tokens) <= 1e-5
    scheduler.set_timesteps(6, mu=calculate_shift(tokens, 256, 4096, 0.3, 1.4))
    told = dict(scheduler.config) | {"base_shift": 0.3, "max_shift": 1.4}
    assert compare(DPMSolver(6), scheduler, tokens=tokens, config=told) <= 1e-5
    with pytest.raises(ValueError, match="Expected `time_shift_type` 'exponential' for DPMSolver"):
        DPMSolver(6).trajectory(config | options | {"time_shift_type": "linear"}, tokens)


def test_levels_above_1_are_refused_for_flows(config):
    flows = config | {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    with pytest.raises(ValueError, match="at most 1, since `use_flow_sigmas` is set, but they begin at"):
        DPMSolver(6, sigmas="karras").trajectory(flows)


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")
def test_levels_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite noise levels"):
        FlowEuler(1).trajectory({"shift_terminal": 0.1})


@pytest.mark.parametrize(
    ("sampler", "told", "message"),
    [
        (DDIM(4), {"timestep_spacing": "odd"}, "odd is not supported"),
        (DPMSolver(4), {"use_karras_sigmas": True, "use_beta_sigmas": True}, "Only one of"),
        (Euler(4), {"beta_schedule": "odd"}, "odd is not implemented"),
        (EulerAncestral(4), {"num_train_timesteps": None}, "got"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_configs_that_diffusers_refuses_get_one_sentence_of_ours(config, sampler, told, message):
    name = sampler.scheduler_class.__name__
    with pytest.raises(ValueError, match=f"Expected a config that {name} knows, but: .*{message}") as refused:
        sampler.trajectory(config | told)
    assert own_sentence(refused.value) is not None
    assert str(refused.value).endswith("; mend the pipeline's `scheduler_config.json`.")
