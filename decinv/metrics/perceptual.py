"""Scores by trained networks, which come with optional extras and weights of their own."""

from collections.abc import Sequence

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from decinv.errors import reason

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and deviation of each channel that CLIP's images are normalised by, where white is 1."""

SMALLEST = 31
"""Shortest side in pixels of images whose features AlexNet finds."""


def lpips(preds: Tensor, target: Tensor) -> Tensor:
    """Give the learned perceptual distance (Zhang et al., arXiv 1801.03924) with AlexNet of each pair; lower is closer.

    torchvision downloads the network's weights when first asked.

    Args:
        preds: Images ``(B, 3, H, W)`` in [-1, 1]; sides of at least 31.
        target: Images of the same shape.

    Returns:
        Values ``(B,)``.

    Raises:
        ModuleNotFoundError: Without the extra ``lpips``.
        ValueError: If a side is below 31.
    """
    if min(preds.shape[-2:]) < SMALLEST:
        raise ValueError(f"Expected sides of at least {SMALLEST} pixels, but got {tuple(preds.shape)}.")
    try:
        import torchvision  # noqa: F401
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
    except (ImportError, RuntimeError) as error:  # a torchvision built for another torch raises the latter
        raise ModuleNotFoundError("Expected a working torchvision for LPIPS; install it with `decinv[lpips]`.") from error
    pairs = zip(preds.float().clamp(-1, 1), target.float().clamp(-1, 1), strict=True)
    distance = LearnedPerceptualImagePatchSimilarity("alex").to(preds.device)  # once for all pairs, for it reads its weights
    return torch.stack([distance(y[None], x[None]) for y, x in pairs])


def check_lpips() -> None:
    """Load what ``lpips`` needs, so that what is missing shows before there are images.

    Raises:
        ModuleNotFoundError: Without the extra ``lpips``.
        ValueError: If the network's weights cannot be loaded.
    """
    try:
        lpips(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"Expected the weights of LPIPS's network, but got: {reason(error)}; leave out `lpips`.") from error


class ClipScore:
    """100 x the cosine of CLIP's embeddings of an image and of a text (Hessel et al., arXiv 2104.08718), at least 0."""

    def __init__(self, path: str = "openai/clip-vit-large-patch14", device: str = "cpu") -> None:
        """Load the model and its tokenizer.

        Args:
            path: A directory saved by transformers, or a hub id.
            device: Where it computes.

        Raises:
            ValueError: If there is no such model, or not all of it.
        """
        from transformers import AutoTokenizer, CLIPModel  # which takes seconds

        try:
            model, found = CLIPModel.from_pretrained(path, output_loading_info=True)
            self.tokenizer = AutoTokenizer.from_pretrained(path)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ValueError(f"Expected a CLIP model and its tokenizer at {path!r}, but got: {reason(error)}.") from error
        if missing := found["missing_keys"]:  # which transformers would draw at random
            raise ValueError(f"Expected a CLIP model at {path!r}, but {len(missing)} of its weights are missing.")
        self.model = model.to(device).eval()

    @torch.no_grad()
    def __call__(self, image: Tensor, text: Sequence[str]) -> Tensor:
        """Give the score of each image with its text.

        Args:
            image: Images ``(B, 3, H, W)`` in [-1, 1]; the shorter side is resized to the model's, bicubically, and the longer
                one cut off at both ends, as CLIP's own images are.
            text: ``B`` texts; what is longer than the model takes is cut off.

        Returns:
            Values ``(B,)`` in [0, 100].

        Raises:
            ValueError: If there are not as many texts as images.
        """
        if len(text) != len(image):
            raise ValueError(f"Expected a text for each image, but got {len(text)} texts and {len(image)} images.")
        config = self.model.config
        limit = config.text_config.max_position_embeddings
        words = self.tokenizer(list(text), padding=True, truncation=True, max_length=limit, return_tensors="pt")
        pixels = self._pixels(image, config.vision_config.image_size)
        out = self.model(pixel_values=pixels, **words.to(self.model.device))
        score: Tensor = functional.cosine_similarity(out.image_embeds, out.text_embeds)
        return 100 * score.clamp(min=0)

    def _pixels(self, image: Tensor, size: int) -> Tensor:
        sides = [size * side // min(image.shape[-2:]) for side in image.shape[-2:]]
        whole = functional.interpolate(image.to(self.model.device).float(), sides, mode="bicubic", antialias=True)
        top, left = ((side - size) // 2 for side in sides)
        value = (whole[..., top : top + size, left : left + size].clamp(-1, 1) + 1) / 2
        mean, std = (value.new_tensor(one).view(3, 1, 1) for one in (CLIP_MEAN, CLIP_STD))
        return (value - mean) / std
