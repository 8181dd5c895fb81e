"""What tests share: one thread, seeded images, and tiny random autoencoders of diffusers saved to disk."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

BLOCKS: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "norm_num_groups": 4,
}
KL: dict[str, Any] = {**BLOCKS, "block_out_channels": (8,) * 4, "layers_per_block": 1}


def _dc() -> diffusers.ModelMixin:
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in {
            "block_out_channels": (8,) * 4,
            "layers_per_block": (1,) * 4,
            "block_types": "ResBlock",
            "qkv_multiscales": ((),) * 4,
        }.items()
    }
    return diffusers.AutoencoderDC(latent_channels=8, scaling_factor=0.41407, **sides)


MODELS: dict[str, Callable[[], diffusers.ModelMixin]] = {
    "kl": lambda: diffusers.AutoencoderKL(latent_channels=4, scaling_factor=0.18215, **KL),
    "kl16": lambda: diffusers.AutoencoderKL(
        latent_channels=16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False, **KL
    ),
    "tiny": lambda: diffusers.AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4),
    "dc": _dc,
    "asymmetric": lambda: diffusers.AsymmetricAutoencoderKL(
        down_block_out_channels=(8,) * 4, up_block_out_channels=(8,) * 4, **BLOCKS
    ),
    "vq": lambda: diffusers.VQModel(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8,) * 3,
        norm_num_groups=4,
        num_vq_embeddings=16,
    ),
    "wan": lambda: diffusers.AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
    "temporal": lambda: diffusers.AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",) * 2, block_out_channels=(32,) * 2, layers_per_block=1
    ),
    "consistency": lambda: diffusers.ConsistencyDecoderVAE(
        encoder_block_out_channels=(8,) * 4,
        encoder_down_block_types=("DownEncoderBlock2D",) * 4,
        encoder_layers_per_block=1,
        encoder_norm_num_groups=4,
        encoder_in_channels=3,
        encoder_out_channels=4,
        decoder_block_out_channels=(8,) * 4,
        decoder_layers_per_block=1,
        decoder_norm_num_groups=4,
    ),
    "grey": lambda: diffusers.AutoencoderKL(in_channels=1, out_channels=1, **KL),
    "unet": lambda: diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=4,
        layers_per_block=1,
    ),
}


def pytest_configure(config: pytest.Config) -> None:
    """Let pass what third parties warn of in their own code."""
    for pattern in (
        r"`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning",  # Lightning 2.6 with torch 2.13
        r"Found \d+ module\(s\) in eval mode",  # Lightning; the codec is frozen on purpose
        r"You have overridden `transfer_batch_to_device`",  # Lightning; on purpose
        r"`torch.jit.script` is deprecated",  # torch 2.13's own forward-mode derivatives
        r"__array__ implementation doesn't accept a copy keyword",  # diffusers 0.42 with numpy 2.4
    ):
        config.addinivalue_line("filterwarnings", f"ignore:{pattern}")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the directory of a tiny random model of diffusers by its name in ``MODELS``, saved when first asked for."""
    root = tmp_path_factory.mktemp("models")

    def save(name: str) -> Path:
        if not (root / name).is_dir():
            with torch.random.fork_rng():
                torch.manual_seed(0)
                MODELS[name]().save_pretrained(root / name)
        return root / name

    return save


@pytest.fixture(scope="session")
def pipelines() -> Any:
    """Give the module that makes tiny random pipelines, whose imports are slow."""
    spec = importlib.util.spec_from_file_location("pipelines", Path(__file__).with_name("pipelines.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def saved_pipeline(pipelines: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """Give directory and object of a tiny random pipeline by its name in ``pipelines.KINDS``, saved when first asked for."""
    made: dict[str, tuple[Path, Any]] = {}

    def save(kind: str) -> tuple[Path, Any]:
        if kind not in made:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                directory = tmp_path_factory.mktemp(kind)
                made[kind] = directory, pipelines.save(kind, directory)
        return made[kind]

    return save


@pytest.fixture
def images() -> Callable[..., Tensor]:
    """Give seeded images ``(count, 3, height, width)``, uniform in [-1, 1]."""

    def draw(count: int, height: int = 16, width: int = 16, seed: int = 0) -> Tensor:
        return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1

    return draw


@pytest.fixture(autouse=True)
def _untouched_random_state() -> Iterator[None]:
    """Fail no other test by leaving torch's random state changed."""
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)
