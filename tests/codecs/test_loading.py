"""What is wrong with a path, a config or weights is said in one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import diffusers
import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file

from decinv.codecs import AutoencoderCodec, load_codec

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def directory(saved: Callable[[str], Path], tmp_path: Path) -> Path:
    """A codec's directory to break."""
    return shutil.copytree(saved("kl"), tmp_path / "codec")


def edit_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(directory / WEIGHTS)
    change(weights)
    save_file(weights, directory / WEIGHTS)


def edit_config(directory: Path, **entries: object) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | entries))


def keep_start(file: Path, part: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(part * len(content))])


BROKEN: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "no weights": (lambda d: (d / WEIGHTS).unlink(), FileNotFoundError, "weights as safetensors in .* but found none"),
    "half a file": (lambda d: keep_start(d / WEIGHTS, 0.5), ValueError, "whole weights in .*copy or download it again"),
    "empty file": (lambda d: keep_start(d / WEIGHTS, 0), ValueError, "whole weights in .*copy or download it again"),
    "pointer of git lfs": (
        lambda d: (d / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        ValueError,
        "whole weights in .*copy or download it again",
    ),
    "missing weight": (
        lambda d: edit_weights(d, lambda w: w.pop("decoder.conv_in.weight")),
        ValueError,
        "all weights of AutoencoderKL .* lacks 1, such as 'decoder.conv_in.weight', which would be random",
    ),
    "other shape": (
        lambda d: edit_weights(d, lambda w: w.update({"decoder.conv_in.weight": torch.zeros(2, 3)})),
        ValueError,
        "loadable AutoencoderKL in .*size mismatch for decoder.conv_in.weight",
    ),
    "nan weight": (
        lambda d: edit_weights(d, lambda w: w["decoder.conv_in.weight"].fill_(torch.nan)),
        ValueError,
        "finite weights in .*'decoder.conv_in.weight' in torch.float32 is not",
    ),
    "no config": (lambda d: (d / "config.json").unlink(), FileNotFoundError, r"none of config\.json, vae/config\.json"),
    "broken config": (lambda d: keep_start(d / "config.json", 0.5), ValueError, "a config saved by diffusers, but got"),
    "binary config": (lambda d: (d / "config.json").write_bytes(b"\xff\xfe"), ValueError, "config saved by diffusers"),
    "config of a list": (lambda d: (d / "config.json").write_text("[1]"), ValueError, "`_class_name`, but got None"),
    "config without class": (lambda d: (d / "config.json").write_text("{}"), ValueError, "`_class_name`, but got None"),
    "unknown class": (lambda d: edit_config(d, _class_name="Nope"), ValueError, "`_class_name`, but got 'Nope'"),
    "a scheduler": (lambda d: edit_config(d, _class_name="DDIMScheduler"), ValueError, "`_class_name`, but got 'DDIM"),
    "impossible config": (lambda d: edit_config(d, norm_num_groups=3), ValueError, "loadable AutoencoderKL .*groups"),
    "other config": (lambda d: edit_config(d, layers_per_block=2), ValueError, "all weights of AutoencoderKL .* lacks"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_directories_are_refused_in_one_sentence(directory: Path, capfd: pytest.CaptureFixture[str], case: str) -> None:
    damage, kind, message = BROKEN[case]
    damage(directory)
    with pytest.raises(kind, match=message) as caught:
        load_codec(directory)
    text = str(caught.value)
    assert text.startswith("Expected ")
    assert text.endswith(".")
    assert "\n" not in text
    assert str(directory) in text
    assert capfd.readouterr().err == ""


def test_models_that_are_no_autoencoders_are_refused(saved: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match=r"an autoencoder in .*, but got UNet2DModel, which has no `encode` and `decode`"):
        load_codec(saved("unet"))


def test_weights_that_are_not_used_are_told_of(directory: Path) -> None:
    edit_weights(directory, lambda w: w.update({"ema.decay": torch.zeros(2)}))
    with pytest.warns(UserWarning, match="does not use 1 of its saved weights, such as 'ema.decay'"):
        load_codec(directory)


def test_pickles_are_read_only_where_allowed(directory: Path, images, capfd: pytest.CaptureFixture[str]) -> None:
    image = images(1, 32, 32)
    expected = load_codec(directory).encode(image)
    torch.save(load_file(directory / WEIGHTS), directory / "diffusion_pytorch_model.bin")
    (directory / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match="set `allow_pickle` to read pickles that you trust"):
        load_codec(directory)
    assert torch.equal(AutoencoderCodec(str(directory), allow_pickle=True).encode(image), expected)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("shard", [{}, {"max_shard_size": "20KB"}], ids=["whole", "shards"])
def test_weights_of_a_variant_are_read_where_there_are_no_others(directory: Path, tmp_path: Path, shard, images) -> None:
    model = diffusers.AutoencoderKL.from_pretrained(directory)
    model.save_pretrained(tmp_path, variant="fp16", **shard)
    image = images(1)
    assert torch.equal(load_codec(tmp_path).encode(image), load_codec(directory).encode(image))
    for weights in model.parameters():
        weights.data.zero_()
    model.save_pretrained(tmp_path)  # which is the one to read now
    assert not load_codec(tmp_path).encode(image).any()


def test_safetensors_are_preferred_to_pickles(directory: Path) -> None:
    (directory / "diffusion_pytorch_model.bin").write_bytes(b"no pickle")
    AutoencoderCodec(str(directory), allow_pickle=True)


@pytest.mark.parametrize("path", ["/nowhere/codec", "./nowhere", "~/nowhere-at-all", "nowhere", "a/b/c"])
def test_paths_that_are_nothing_are_refused(path: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"'bundled', a directory or a hub id like 'owner/name', but got '{path}'"):
        load_codec(path)


def test_a_file_is_no_directory(directory: Path) -> None:
    with pytest.raises(FileNotFoundError, match="a directory or a hub id"):
        load_codec(directory / WEIGHTS)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub out of reach, and an empty cache of it at the path given."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_hub_id_out_of_reach_is_refused_in_one_sentence(offline: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"hub id 'owner/name', of which there is no directory here.*HF_HUB_OFFLINE"
    ) as caught:
        load_codec("owner/name")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("folder", ["", "vae"])
def test_a_hub_id_in_the_cache_is_read_offline(saved: Callable[[str], Path], offline: Path, images, folder: str) -> None:
    repository = offline / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(saved("kl"), repository / "snapshots" / ("0" * 40) / folder)
    image = images(1, 32, 32)
    assert torch.equal(load_codec("owner/name").encode(image), load_codec(saved("kl")).encode(image))
    with pytest.raises(FileNotFoundError, match=r"has none of unet/config\.json"):
        AutoencoderCodec("owner/name", subfolder="unet")


@pytest.mark.parametrize("kind", ["plain", "fp16", "fp16 in parts", "pickle"])
def test_of_a_hub_s_variants_one_is_fetched(
    saved: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The hub is a directory, of which a download copies what the patterns ask for."""
    hub, cache = tmp_path / "hub", tmp_path / "cache"
    model = diffusers.AutoencoderKL.from_pretrained(saved("kl"))
    options = {"max_shard_size": "20KB"} if kind == "fp16 in parts" else {"safe_serialization": kind != "pickle"}
    model.save_pretrained(hub, variant="fp16" if kind.startswith("fp16") else None, **options)
    if kind == "plain":
        model.save_pretrained(hub, variant="fp16")
        model.save_pretrained(hub, safe_serialization=False)
    cache.mkdir()

    def download(path: str, allow_patterns: list[str]) -> str:
        names = [file.name for file in hub.iterdir()]
        for name in filter_repo_objects(names, allow_patterns=allow_patterns):
            shutil.copy(hub / name, cache)
        return str(cache)

    monkeypatch.setattr("decinv.codecs.loading.snapshot_download", download)
    assert AutoencoderCodec("owner/name", allow_pickle=True).stride == 8
    fetched = {file.name for file in cache.iterdir()}
    assert fetched == ({"config.json", WEIGHTS} if kind == "plain" else {file.name for file in hub.iterdir()})


def test_a_directory_wins_over_a_hub_id(directory: Path, offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory.parents[1])
    assert load_codec(f"{directory.parent.name}/codec").stride == 8


def test_running_out_of_memory_while_loading_is_told_as_such(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(diffusers.AutoencoderKL, "from_pretrained", fail)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        load_codec(directory)


def test_on_the_meta_device_the_config_is_enough(directory: Path) -> None:
    (directory / WEIGHTS).unlink()
    with torch.device("meta"):
        codec = AutoencoderCodec(str(directory), dtype="bfloat16", memory_mib=100, compile=True)
    assert {(weight.device.type, weight.dtype) for weight in codec.parameters()} == {("meta", torch.bfloat16)}
    assert (codec.stride, codec.latent_channels, codec.scaling.factor) == (8, 4, 0.18215)
    assert codec.decode(codec.encode(torch.empty(2, 3, 32, 32, device="meta"))).shape == (2, 3, 32, 32)
    edit_config(directory, norm_num_groups=3)
    with torch.device("meta"), pytest.raises(ValueError, match=r"a loadable config of AutoencoderKL in .*groups"):
        load_codec(directory)


@pytest.mark.parametrize("name", ["rae", "minimax"])
def test_weights_that_a_class_makes_or_pins_by_itself_have_the_planned_number_formats(
    saved: Callable[[str], Path], name: str
) -> None:
    loaded = AutoencoderCodec(str(saved(name)), dtype="bfloat16")
    with torch.device("meta"):
        planned = AutoencoderCodec(str(saved(name)), dtype="bfloat16")
    assert [weight.dtype for weight in loaded.parameters()] == [weight.dtype for weight in planned.parameters()]
    assert torch.bfloat16 in {weight.dtype for weight in loaded.parameters()}


def test_on_the_meta_device_a_cached_config_of_the_hub_is_enough(saved: Callable[[str], Path], offline: Path) -> None:
    repository = offline / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40) / "vae").mkdir(parents=True)
    shutil.copy(saved("kl") / "config.json", repository / "snapshots" / ("0" * 40) / "vae")
    with torch.device("meta"):
        assert AutoencoderCodec("owner/name").stride == 8
        with pytest.raises(FileNotFoundError, match=r"hub id 'owner/other', of which there is no directory here"):
            AutoencoderCodec("owner/other")
