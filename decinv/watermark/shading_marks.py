"""Gaussian Shading as marks: a message for each user."""

import torch
from torch import Tensor

from decinv.ranges import refuse_below
from decinv.watermark.gaussian_shading import match_p_value, messages, read_message, shade, threshold, trace
from decinv.watermark.mark import Finding, Watermark
from decinv.watermark.shading_key import ShadingKey


class GaussianShading(Watermark):
    """Gaussian Shading (Yang et al., arXiv 2404.04956), a message for each user."""

    def __init__(self, key: str, users: int = 1, seed: int = 0, fpr: float = 1e-6) -> None:
        """Load the key and draw the users' messages.

        Args:
            key: Its file, as ``python -m decinv.watermark shading`` makes it.
            users: Number of users, each with a message of its own, at least 1.
            seed: Seed of the messages; they need not be secret.
            fpr: Accepted rate of false alarms, in (0, 1), whatever the number of users; at least about ``users / 2^bits``,
                the rate at which noise without a mark reads as the whole message of one.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the key cannot be read, an option is out of range, or two users would have the same message.
        """
        super().__init__(fpr)
        refuse_below(1, users=users)
        self.key = ShadingKey.load(key)
        self.messages = messages(users, self.key.bits, seed)
        if threshold(self.key.bits, fpr, users) is None:
            chance = float(match_p_value(torch.tensor([self.key.bits]), self.key.bits, users))
            raise ValueError(
                f"Expected `fpr` of at least about {chance:.2g}, at which all {self.key.bits} bits of one of {users} users are "
                f"equal by chance, but got {fpr:g}; give a key of more bits, or a higher rate."
            )
        if (different := len({tuple(message) for message in self.messages.tolist()})) < users:
            raise ValueError(
                f"Expected a message of its own for each of {users} users, but only {different} of those drawn differ; give a "
                "key of more bits, or another `seed`."
            )

    @property
    def marks(self) -> int:
        """Number of users."""
        return len(self.messages)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the key."""
        return self.key.shape

    def _mark(self, noise: Tensor, which: Tensor) -> Tensor:
        """Write the message of each image's user into its noise."""
        return shade(noise, self.key, self.messages[which])

    def _find(self, noise: Tensor) -> list[Finding]:
        """Find the user whose message is closest, and how likely any is as close by chance."""
        user, bits = trace(read_message(noise, self.key).cpu(), self.messages)
        p_values = match_p_value(bits, self.key.bits, self.marks)
        found = zip(user.tolist(), p_values.tolist(), bits.tolist(), strict=True)
        key = self.key.fingerprint
        return [Finding(which, key, p, self.verdict(p), score=count, bits=count) for which, p, count in found]
