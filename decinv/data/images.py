"""Image files for an inversion."""

from collections.abc import Sequence

from decinv.batch import Failure
from decinv.codecs.base import Codec
from decinv.data.buckets import Sample
from decinv.data.indexed import IndexedData
from decinv.data.listing import list_images
from decinv.images.padding import fit_to_multiple, fitted_size
from decinv.images.reading import MAX_PIXELS, UnreadableImageError, read_image, read_size
from decinv.ranges import refuse_below
from decinv.runs import Input


class ImageData(IndexedData):
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
        shard: str = "0/1",
        block: int | None = None,
        workers: int = 2,
    ) -> None:
        """Say which images.

        Args:
            root: A directory (searched at any depth), an image, a glob such as 'photos/**/*.png', a manifest (.txt with one
                path a line, or .csv with the column 'path' and optionally 'name', and 'prompt' for the inversion of a sampler),
                or 'samples' for the package's samples.
            batch_size: Images of one size that are inverted together, at least 1.
            crop: Whether to crop images below and on the right to a multiple of the codec's stride, rather than to pad them.
            limit: Largest number of files, the first ones being taken, at least 1; null for all.
            max_pixels: Largest number of pixels of an image that is read; a larger one counts as unreadable.
            shard: Part of the images that this job inverts, as i/n with 0 <= i < n, for n independent jobs with one --out.
            block: Consecutive files among which images of one size are batched, at least 1; null to choose by their number.
                Each block is the work of one process.
            workers: Threads that read images ahead, at least 0.

        Raises:
            ValueError: If a number is out of range, or `shard` is no i/n.
        """
        super().__init__(batch_size, shard, block, workers)
        refuse_below(1, limit=limit, max_pixels=max_pixels)
        self.root = root
        self.crop = crop
        self.limit = limit
        self.max_pixels = max_pixels

    def list_inputs(self) -> Sequence[Input]:
        """List the files.

        Raises:
            FileNotFoundError: If there is no image at ``root``.
            ValueError: If names are not unique, or a manifest cannot be read.
        """
        return list_images(self.root)[: self.limit]

    def image_size(self, item: Input, codec: Codec) -> tuple[int, int] | None:
        """Read the size from the file's header; it is unknown where there is none, or the image is too small to crop."""
        try:
            return fitted_size(read_size(item.path, self.max_pixels), codec.multiple, self.crop)
        except UnreadableImageError:
            return None

    def load(self, item: Input, codec: Codec) -> Sample | Failure:
        """Read an image, and pad or crop it."""
        try:
            image = read_image(item.path, self.max_pixels)
            fitted = fit_to_multiple(image, codec.multiple, self.crop)
        except (UnreadableImageError, ValueError) as error:
            return Failure(item.name, str(error))
        height, width = (fitted if self.crop else image).shape[-2:]
        return Sample(item.name, fitted, (height, width), prompt=item.prompt)
