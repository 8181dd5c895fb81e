"""The benchmark of images that were distorted on their way."""
