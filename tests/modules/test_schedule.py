import pytest
import torch

from decinv.modules.schedule import Trapezoid


def test_the_rate_rises_stays_and_falls():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    rate = Trapezoid(warmup_steps=2, decay_fraction=0.4).drive(optimizer, steps=10)["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        rate.step()
    assert rates == pytest.approx([1, 2, 2, 2, 2, 2, 2, 1.5, 1, 0.5])


@pytest.mark.parametrize(("warmup", "decay", "text"), [(1, 0.0, "0.0"), (1, 1.5, "1.5"), (0, 0.5, "`warmup_steps`")])
def test_arguments_out_of_range_are_refused(warmup, decay, text):
    with pytest.raises(ValueError, match=text):
        Trapezoid(warmup, decay)
