"""What tests share: one thread, seeded images, and tiny random autoencoders of diffusers saved to disk."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import diffusers
import pytest
import torch
from torch import Tensor

from decinv.codecs.tiny import INSTANCES, KL, make

MODELS: dict[str, Callable[[], diffusers.ModelMixin]] = {
    **{name: partial(make, name) for name in INSTANCES},
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
