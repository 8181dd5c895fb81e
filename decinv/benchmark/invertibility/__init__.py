"""The benchmark of decoders themselves: how much of a latent an image shows."""
