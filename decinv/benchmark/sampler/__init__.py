"""The benchmark of sampler inversion: noise and images, there and back."""
