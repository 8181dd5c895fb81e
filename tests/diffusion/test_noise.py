import torch

from decinv.diffusion.noise import draw_noise


def test_noise_depends_on_all_of_its_seed_and_on_nothing_else():
    noise = draw_noise((4, 64, 64), 1, 2)
    assert torch.equal(noise, draw_noise(torch.Size([4, 64, 64]), 1, 2))
    assert (noise.shape, noise.dtype) == ((4, 64, 64), torch.float32)
    for other in ((1,), (2, 1), (1, 2, 1)):
        assert abs(float((noise * draw_noise(noise.shape, *other)).mean())) < 0.03
    assert abs(float(noise.mean())) < 0.03
    assert abs(float(noise.std()) - 1) < 0.03
