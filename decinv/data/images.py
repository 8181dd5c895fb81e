"""Image files for an inversion."""

from collections.abc import Iterator

from decinv.batch import Batch, Failure
from decinv.codecs.base import Codec
from decinv.data.base import ChunkData
from decinv.data.buckets import Sample, gather
from decinv.data.listing import Entry, list_images
from decinv.data.padding import crop_to_multiple, pad_to_multiple
from decinv.data.reading import MAX_PIXELS, UnreadableImageError, read_image


class ImageData(ChunkData):
    """Images from files, of any mixture of sizes and formats; see ``list_images`` and ``read_image`` for the rules.

    Images whose sides are no multiples of the codec's stride are padded by reflection, or cropped, below and to the right;
    ``Batch.sizes`` tells how to undo it. Files that cannot be read become ``Batch.failures``.
    """

    def __init__(
        self,
        root: str,
        batch_size: int = 8,
        crop: bool = False,
        limit: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Say which images.

        Args:
            root: A directory (searched at any depth), an image, a glob such as 'photos/**/*.png', a manifest (.txt with one
                path a line, or .csv with the column 'path' and optionally 'name'), or 'samples' for the package's samples.
            batch_size: Images of one size that are inverted together, at least 1.
            crop: Whether to crop images below and on the right to a multiple of the codec's stride, rather than to pad them.
            limit: Largest number of files, the first ones being taken, at least 1; null for all.
            max_pixels: Largest number of pixels of an image that is read; a larger one counts as unreadable.

        Raises:
            ValueError: If a number is below 1.
        """
        super().__init__()
        for option, value in (("batch_size", batch_size), ("limit", limit), ("max_pixels", max_pixels)):
            if value is not None and value < 1:
                raise ValueError(f"Expected `{option}` to be at least 1, but got {value}.")
        self.root = root
        self.batch_size = batch_size
        self.crop = crop
        self.limit = limit
        self.max_pixels = max_pixels
        self._entries: tuple[Entry, ...] = ()

    def setup(self, stage: str) -> None:
        """List the files, so that a wrong ``root`` ends a run before it begins.

        Raises:
            FileNotFoundError: If there is no image at ``root``.
            ValueError: If names are not unique, or a manifest cannot be read.
        """
        self._entries = list_images(self.root)[: self.limit]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The files with their names, in order."""
        if not self._entries:
            self.setup("fit")
        return self._entries

    @property
    def total(self) -> int:
        """Number of files, unreadable ones included."""
        return len(self.entries)

    def chunks(self, codec: Codec) -> Iterator[Batch]:
        """Read the images one at a time, and group them by their size after padding or cropping."""
        return gather((self._sample(entry, codec.stride) for entry in self.entries), self.batch_size, codec.stride)

    def _sample(self, entry: Entry, stride: int) -> Sample | Failure:
        try:
            image = read_image(entry.path, self.max_pixels)
            fitted = crop_to_multiple(image, stride) if self.crop else pad_to_multiple(image, stride)
        except (UnreadableImageError, ValueError) as error:
            return Failure(entry.name, str(error))
        height, width = (fitted if self.crop else image).shape[-2:]
        return Sample(entry.name, fitted, (height, width))
