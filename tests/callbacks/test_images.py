import time

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from decinv.callbacks import Images
from decinv.callbacks.images import draw
from decinv.callbacks.sheet import GAP, NARROWEST
from decinv.rows import Row
from decinv.status import Status


def test_panels_show_target_reconstruction_and_ten_times_the_error():
    target = torch.zeros(3, 200, 300)
    reconstruction = target.clone()
    reconstruction[0] += 0.1
    picture = np.asarray(draw(target, reconstruction, Row("a", Status.CONVERGED, psnr_db=30.0)))
    middle = picture[picture.shape[0] // 2]
    centres = [GAP + 150 + k * (300 + GAP) for k in range(3)]
    assert picture.shape[1] == 3 * 300 + 4 * GAP
    assert middle[centres[0]].tolist() == [128] * 3
    assert middle[centres[1]].tolist() == [140, 128, 128]
    assert middle[centres[2]].tolist() == [128, 0, 0]  # 0.1 of a range of 2 is 12.75 grey levels


@pytest.mark.parametrize(("size", "panel"), [((8, 8), 192), ((50, 100), 200), ((100, 1536), 768)])
def test_panels_have_a_size_to_look_at(size, panel):
    image = torch.zeros(3, *size)
    picture = draw(image, image, Row("name\nof more than fits in any such picture " * 9, Status.DIVERGED))
    assert picture.width == 3 * panel + 4 * GAP


def test_what_does_not_fit_is_cut_in_its_middle_however_long_it_is():
    image = torch.zeros(3, 64, 64)
    began = time.perf_counter()
    long, short = (draw(image, image, Row(name, Status.CONVERGED)) for name in ("ab" * 50_000, "ab"))
    assert time.perf_counter() - began < 10  # letter by letter it would take hours
    assert long.size == short.size
    head = [np.asarray(one.convert("L"))[:20, GAP:60] for one in (long, short)]
    assert (head[0][:, :14] == head[1][:, :14]).all()  # "ab" comes first in both
    assert (head[0] != head[1]).any()


def test_columns_of_narrow_panels_have_room_for_their_labels():
    image = -torch.ones(3, 200, 20)
    picture = np.asarray(draw(image, image, Row("name", Status.CONVERGED)).convert("L"))
    middle = picture[picture.shape[0] // 2]
    assert picture.shape[1] == 3 * NARROWEST + 4 * GAP
    assert (middle[GAP + NARROWEST // 2], middle[GAP + NARROWEST // 2 + 11]) == (0, 255)


def test_the_first_samples_of_a_run_are_drawn(fit, make_batch, tmp_path):
    batches = [make_batch(["a/b.png", "c"], sizes=((16, 16), (12, 16))), make_batch(["../d", "e"], seed=1)]
    fit([Images(count=3)], batches, logger=TensorBoardLogger(tmp_path, name="", version="log"))
    found = sorted(str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*.png"))
    assert len(found) == 3
    assert found[:2] == ["images/a/b.png.png", "images/c.png"]
    assert found[2].startswith("images/d-")
    accumulator = EventAccumulator(str(tmp_path / "log"))
    accumulator.Reload()
    assert sorted(accumulator.Tags()["images"]) == ["images/../d", "images/a/b.png", "images/c"]
    with Image.open(tmp_path / "run" / "images" / "c.png") as picture:
        assert picture.width == 3 * 192 + 4 * GAP
        tall = [p for p in range(picture.height) if picture.getpixel((GAP + 96, p)) != (255, 255, 255)]
    assert len(tall) >= 144


def test_count_must_not_be_negative():
    with pytest.raises(ValueError, match="`count` to be at least 0, but got -1"):
        Images(count=-1)


@pytest.mark.parametrize(
    "name", ["line\nbreak", "carriage\rreturn", "next\x85line", "paragraph\u2029", "unit\x1f", "\udcff", "tab\t"]
)
def test_any_name_can_be_drawn(name):
    picture = draw(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8), Row(name, Status.CONVERGED))
    assert min(picture.size) > 0
