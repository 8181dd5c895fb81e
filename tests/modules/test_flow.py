import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from lightning import Trainer

from decinv.data import FlowPairs, captioned_scene
from decinv.diffusion.text import encode_prompts
from decinv.modules import DenoiserTraining, FlowTraining

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),  # Lightning; the data are in memory
    pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning"),  # Lightning 2.6 with torch 2.13
    pytest.mark.filterwarnings("ignore:__array__ implementation"),  # diffusers' DPM-Solver with numpy 2
]


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory):
    """The directory of an untrained diffusion model, and the module that saved it."""
    directory = tmp_path_factory.mktemp("diffusion") / "pipeline"
    sizes = {"block_out_channels": (8, 8), "heads": 2, "norm_num_groups": 4, "text_width": 8, "text_layers": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = DenoiserTraining(**sizes)
        torch.nn.init.normal_(module.averaged["unet"].conv_out.weight, std=0.3)
    module.export(directory)
    return directory, module


def pairs(directory, **options):
    sizes = {"size": 64, "count": 3, "batch_size": 2, "large_every": 0, "validation_count": 2}
    return FlowPairs(str(directory), **sizes, **options)


@torch.no_grad()
def test_pairs_are_noise_and_what_the_model_makes_of_it(diffusion):
    """Fine DDIM steps under guidance, taken here by hand, end where the solver of second order ends."""
    directory, module = diffusion
    (both, captions) = pairs(directory, steps=20).make(2, 64, seed=3, first=1)
    made, noise = both.unbind(1)
    assert captions == [captioned_scene(index, 32, 3)[1] for index in (1, 2)]
    assert abs(noise.mean()) < 0.2
    assert abs(noise.std() - 1) < 0.1
    scheduler = DDIMScheduler.from_config(module.scheduler.config, timestep_spacing="trailing")
    scheduler.set_timesteps(80)
    networks = module.averaged.eval()
    unet = UNet2DConditionModel.from_pretrained(directory, subfolder="unet")
    prompts, latent = encode_prompts(module.tokenizer, networks["text_encoder"], [*captions, "", ""]), noise
    for time in scheduler.timesteps:
        wanted, empty = unet(latent.repeat(2, 1, 1, 1), time, prompts).sample.chunk(2)
        latent = scheduler.step(empty + 3.0 * (wanted - empty), time, latent).prev_sample
    assert ((made - latent).norm() / latent.norm()).item() < 0.1


def test_cached_pairs_of_another_guidance_are_refused(diffusion, tmp_path):
    options = {"cache": str(tmp_path), "steps": 1}
    first, again = (pairs(diffusion[0], **options) for _ in range(2))
    first.setup("fit")
    again.setup("fit")
    assert torch.equal(first.small[0], again.small[0])
    with pytest.raises(ValueError, match=r"with 1 steps and guidance 1.0 in the cache, but .* guidance 3.0; give another"):
        pairs(diffusion[0], guidance=1.0, **options).setup("fit")


def test_training_saves_a_flow_model(diffusion, tmp_path):
    directory, _ = diffusion
    with torch.random.fork_rng():
        flow = FlowTraining(str(directory), warmup_steps=1)
        before = {name: value.clone() for name, value in flow.networks.state_dict().items()}
        Trainer(max_steps=2, default_root_dir=tmp_path, **QUIET).fit(flow, datamodule=pairs(directory, steps=1))
    for name, value in flow.networks.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("text_encoder"), name
    assert not any(str(directory) in file.read_text() for file in (tmp_path / "pipeline").rglob("*.json"))
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(tmp_path / "pipeline", subfolder="scheduler")
    assert scheduler.config.shift == 1.0
    saved = UNet2DConditionModel.from_pretrained(tmp_path / "pipeline", subfolder="unet").state_dict()
    for name, value in flow.averaged["unet"].state_dict().items():
        torch.testing.assert_close(saved[name], value, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("grid_fraction", [0.0, 1.0])
def test_the_error_is_that_of_the_straight_path(diffusion, monkeypatch, grid_fraction):
    """One Euler step of the target velocity, from whatever point was drawn, ends in the data."""
    flow, seen = FlowTraining(str(diffusion[0]), grid=4, grid_fraction=grid_fraction), {}
    batch = torch.randn(16, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def predict(networks, point, time, prompts):
        seen.update(point=point, time=time)
        return torch.zeros_like(point)

    monkeypatch.setattr(flow, "predict", predict)
    errors = flow.errors(flow.networks, (batch, [""] * 16), torch.Generator().manual_seed(0))
    data, noise = batch.unbind(1)
    torch.testing.assert_close(errors["loss"], (noise - data).square().mean())
    s = seen["time"] / 1000
    torch.testing.assert_close(seen["point"] - s.view(-1, 1, 1, 1) * (noise - data), data, rtol=0, atol=1e-5)
    on_grid = torch.isclose(4 * s, (4 * s).round()) & (s > 0)
    assert on_grid.all() if grid_fraction else not on_grid.any()
    if grid_fraction:
        assert set((4 * s).round().int().tolist()) == {1, 2, 3, 4}


@pytest.mark.parametrize("options", [{"grid": 0}, {"grid_fraction": 1.5}])
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        FlowTraining("nowhere", **options)
