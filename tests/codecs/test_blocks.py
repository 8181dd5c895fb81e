"""Compiled blocks, by torch's ``eager`` backend, which compiles no kernels; and blocks that are computed anew."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

import decinv
from decinv.codecs import AutoencoderCodec, load_codec
from decinv.codecs.blocks import VARIANTS, compile_blocks, recomputing
from decinv.memory import PeakMemory

Saved = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compile without kernels, from nothing, and under torch's limit."""
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(recompile_limit=8):
        yield


@pytest.mark.parametrize("name", ["kl", "kl16", "tiny", "dc", "asymmetric", "vq"])
def test_the_blocks_hold_most_convolutions(saved: Saved, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, dynamic: compiled.append(self) if dynamic else None)
    codec = AutoencoderCodec(str(saved(name)), compile=True)
    inside = {layer for block in compiled for layer in block.modules() if isinstance(layer, nn.Conv2d)}
    every = [layer for layer in codec.modules() if isinstance(layer, nn.Conv2d)]
    assert len(inside) > 0.75 * len(every), "the first and the last of each side are left, and small ones"


@torch.no_grad()
def test_batches_that_shrink_and_other_sizes_compile_nothing_anew(saved: Saved, images) -> None:
    codec, plain = AutoencoderCodec(str(saved("tiny")), compile=True), load_codec(saved("tiny"))
    assert not counters["stats"], "construction compiles nothing"
    image = images(5, 32, 64)
    with PeakMemory("cpu"):
        latent = codec.encode(image)
    assert not counters["stats"], "what is measured runs uncompiled, and is compiled afterwards"
    torch.testing.assert_close(latent, plain.encode(image), rtol=0, atol=1e-5)
    torch.testing.assert_close(codec.decode(latent), plain.decode(latent), rtol=0, atol=1e-5)
    graphs = counters["stats"]["unique_graphs"]
    assert 1 <= graphs <= 2, "one for its 20 blocks"
    for other in (image[:3], image[:2], images(4, 64, 96)):
        torch.testing.assert_close(codec.decode(codec.encode(other)), plain.decode(plain.encode(other)), rtol=0, atol=1e-5)
    assert counters["stats"]["unique_graphs"] == graphs
    codec.encode(image[:1])
    assert counters["stats"]["unique_graphs"] <= graphs + 1, "torch treats batches of one apart"


def test_the_limit_of_variants_is_raised_and_never_lowered(saved: Saved) -> None:
    codec = load_codec(saved("tiny"))
    compile_blocks(codec.model)
    assert torch._dynamo.config.recompile_limit == VARIANTS
    torch._dynamo.config.recompile_limit = 2 * VARIANTS
    compile_blocks(codec.model)
    assert torch._dynamo.config.recompile_limit == 2 * VARIANTS


def test_models_without_known_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one of the blocks ResnetBlock2D, .*but Conv2d has none; leave `compile` off"):
        compile_blocks(nn.Conv2d(1, 1, 1))


def test_a_machine_that_cannot_compile_is_told_in_one_sentence(saved: Saved, images, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("No working C++ compiler found.")

    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=fail))
    codec = AutoencoderCodec(str(saved("tiny")), compile=True)
    with pytest.raises(ValueError, match=r"^Expected torch to compile .*compiler found; leave `compile` off") as told:
        decinv.invert(images(1, 32, 64), codec)
    assert len(str(told.value).splitlines()) == 1


@contextmanager
def _counting() -> Iterator[list[torch.Tensor]]:
    """Give what is kept for the backward pass."""
    saved: list[torch.Tensor] = []

    def keep(part: torch.Tensor) -> torch.Tensor:
        saved.append(part)
        return part

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda part: part):
        yield saved


@pytest.mark.parametrize("compiled", [False, True])
def test_recomputed_blocks_keep_their_inputs_alone_and_are_as_before_afterwards(compiled: bool) -> None:
    block = nn.Sequential(nn.Linear(4, 4), nn.SiLU(), nn.Linear(4, 4), nn.SiLU())
    if compiled:
        block.compile()
    image = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = dict(vars(block))
    kept, gradients = [], []
    for blocks in ([], [block]):
        with _counting() as saved, recomputing(blocks):
            value = block(image).square().sum()
        kept.append(len(saved))
        gradients.append(torch.autograd.grad(value, image)[0])
    assert torch.equal(*gradients)
    assert kept[1] < kept[0]
    assert vars(block) == before
