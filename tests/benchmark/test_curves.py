import numpy as np
from PIL import Image, ImageColor

from decinv.benchmark.figures.curves import DASHES, Curve, Panel, draw_curves
from decinv.benchmark.figures.figure import COLOURS

COSTS, QUALITIES = (1, 10, 100), (-10, -15, -20)


def _panel(title):
    curves = [Curve("family", f"rate {i}", COSTS, QUALITIES, COLOURS[i], DASHES[2 * i], "o" * i) for i in range(2)]
    ours = Curve("ours", "", COSTS, QUALITIES, "black", notes=("1", "2", "3"), emphasised=True)
    return Panel(title, [*curves, ours], (-9, "start"))


def _pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _count(pixels, colour):
    return int((pixels == ImageColor.getrgb(colour)).all(-1).sum())


def test_every_line_is_drawn_in_its_colour_and_style(tmp_path):
    curves = [Curve("family", str(i), COSTS, [q - 3 * i for q in QUALITIES], COLOURS[i], DASHES[2 * i]) for i in range(2)]
    draw_curves([Panel("codec", curves)], "evaluations", "dB", "title", "caption", tmp_path / "one.png")
    pixels = _pixels(tmp_path / "one.png")
    solid, dashed = (_count(pixels, colour) for colour in COLOURS[:2])
    assert solid > 1.2 * dashed > 500
    assert _count(pixels, COLOURS[2]) == 0


def test_nothing_is_cut_off_and_every_codec_has_its_panel(tmp_path):
    for count in (1, 2):
        panels = [_panel(f"codec {i}") for i in range(count)]
        draw_curves(panels, "evaluations", "dB", "title", "caption\nof two lines", tmp_path / f"{count}.png")
    one, two = (_pixels(tmp_path / f"{count}.png") for count in (1, 2))
    assert two.shape[1] > 1.5 * one.shape[1]
    for pixels in (one, two):
        border = np.concatenate([edge.ravel() for edge in (pixels[:, :4], pixels[:, -4:], pixels[:4], pixels[-4:])])
        assert (border == 255).all()
