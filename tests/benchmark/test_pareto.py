import numpy as np
from PIL import Image, ImageColor

from decinv.benchmark.figures.figure import COLOURS
from decinv.benchmark.figures.pareto import Line, Panel, draw_pareto


def _count(path, colour):
    return int((np.asarray(Image.open(path).convert("RGB")) == ImageColor.getrgb(colour)).all(-1).sum())


def test_every_line_is_drawn_in_its_colour(tmp_path):
    lines = [
        Line("start", [0.5], [-10.0]),
        *(Line(f"method {i}", [1, 10, 100], [-10, -15 - i, -20 - i], dashed=i == 0) for i in range(3)),
        Line("ours", [1, 10, 100], [-12, -22, -30], ["1", "2", "3"], emphasised=True),
    ]
    path = tmp_path / "pareto.png"
    draw_pareto([[Panel(lines, "seconds", "dB")]], "title", "caption", path)
    drawn = [_count(path, colour) for colour in COLOURS[:3]]
    assert all(count > 500 for count in drawn)
    assert drawn[0] < drawn[1]  # dashed
    assert all(_count(path, colour) == 0 for colour in COLOURS[3:])
    assert _count(path, "black") > max(drawn)


def test_the_legend_is_not_cut_off(tmp_path):
    path = tmp_path / "pareto.png"
    draw_pareto(
        [[Panel([Line("a rather long name of a method", [1, 2], [-1, -2])] * 9, "seconds", "dB")]], "title", "caption", path
    )
    pixels = np.asarray(Image.open(path).convert("L"))
    border = np.concatenate([pixels[:, :4].ravel(), pixels[:, -4:].ravel(), pixels[:4].ravel(), pixels[-4:].ravel()])
    assert (border == 255).all()
    assert (pixels < 255).any()
