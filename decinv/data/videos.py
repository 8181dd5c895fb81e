"""Video files and directories of frames for an inversion."""

from collections.abc import Sequence

from decinv.codecs.base import Codec
from decinv.data.buckets import Sample
from decinv.data.clips import ClipData, Unit
from decinv.data.listing import list_videos
from decinv.images.padding import fit_to_multiple, fitted_size
from decinv.images.reading import MAX_PIXELS
from decinv.images.resizing import cover
from decinv.ranges import refuse_below, refuse_not_above
from decinv.runs import Input
from decinv.video.base import FrameReader
from decinv.video.clips import Moment, cut
from decinv.video.reading import FOLDER_FPS, frame_size, open_frames, scan


class VideoData(ClipData):
    """Clips from video files and directories of frames; see ``list_videos`` and ``decinv.video.reading`` for the rules.

    A video is decoded twice: once when the run begins, to list its frames with their times, and once more while they are
    inverted, in a stream. Frames that cannot be read are failures, and so is a file that is damaged, beside its good frames.

    Frames whose sides are no multiples of the codec's stride are padded by reflection, or cropped, below and to the right.
    """

    def __init__(
        self,
        root: str,
        batch_size: int = 8,
        clip_length: int | None = 16,
        clips: int | None = None,
        stride: int = 1,
        fps: float | None = None,
        unit: Unit = "frame",
        size: tuple[int, int] | None = None,
        crop: bool = False,
        limit: int | None = None,
        folder_fps: float = FOLDER_FPS,
        max_pixels: int = MAX_PIXELS,
        shard: str = "0/1",
        block: int | None = None,
        workers: int = 1,
    ) -> None:
        """Say which clips.

        Args:
            root: A directory (searched at any depth), a video (mp4, mkv, webm, avi, gif, ...), a directory of frames, a glob
                such as 'films/**/*.mp4', a manifest (.txt with one path a line, or .csv with the column 'path' and optionally
                'name'), or 'samples' for the package's samples.
            batch_size: Frames (or clips, see `unit`) of one size that are inverted together, at least 1.
            clip_length: Frames of a clip, at least 1; null to make one clip of a whole video.
            clips: Largest number of clips of a video, which follow one another from its start on, at least 1; null for all.
            stride: Take every ``stride``-th frame; at least 1.
            fps: Frames a second at which videos are seen, above 0: the frames that a player shows at these times; null to take
                frames as they are stored, whatever their times.
            unit: What is inverted as one sample: 'frame' for codecs of images, under which each frame stops by itself and
                memory does not grow with the clip; 'clip' for codecs that compress time, which ask for it. With 'clip' a
                video's last clip is left out if it is shorter than the others.
            size: Height and width to which frames are resized (bicubic, covering it) and cut around the centre; null for none.
            crop: Whether to crop frames below and on the right to a multiple of the codec's stride, rather than to pad them.
            limit: Largest number of videos, the first ones being taken, at least 1; null for all.
            folder_fps: Frames a second of directories of frames, above 0.
            max_pixels: Largest number of pixels of a frame that is read; larger ones fail.
            shard: Part of the frames that this job inverts, as i/n with 0 <= i < n, for n independent jobs with one --out.
            block: Consecutive frames (or clips) that one process inverts, at least 1; null to choose by their number. A process
                decodes a video from its start up to its block.
            workers: Threads that read frames ahead, 0 or 1.

        Raises:
            ValueError: If a number is out of range, or `shard` is no i/n.
        """
        super().__init__(batch_size, unit, shard, block, workers)
        refuse_below(1, clip_length=clip_length, clips=clips, stride=stride, limit=limit, max_pixels=max_pixels)
        refuse_not_above(0, fps=fps, folder_fps=folder_fps)
        if size is not None and min(size) < 1:
            raise ValueError(f"Expected `size` to be two numbers of pixels, each at least 1, but got {list(size)}.")
        if workers > 1:
            raise ValueError(f"Expected `workers` to be 0 or 1, since frames are read in order, but got {workers}.")
        self.root = root
        self.clip_length = clip_length
        self.most = clips
        self.stride = stride
        self.fps = fps
        self.size = size
        self.crop = crop
        self.limit = limit
        self.folder_fps = folder_fps
        self.max_pixels = max_pixels
        self._open: tuple[str, FrameReader] | None = None

    def list_inputs(self) -> Sequence[Input]:
        """List the frames or clips of all videos, which decodes every video as far as its clips go.

        Raises:
            FileNotFoundError: If there is no video at ``root``.
            ValueError: If names are not unique, or a manifest cannot be read.
        """
        inputs: list[Input] = []
        taken: set[str] = set()
        for video in list_videos(self.root)[: self.limit]:
            found = scan(video.path, self._most_frames(), self.folder_fps)
            whole = self.unit == "clip"
            cuts = cut(video.name, found.times, self.clip_length, self.stride, self.most, self.fps, whole)
            damaged = video.name if not cuts else f"{video.name}-damage"
            names = [clip.name for clip in cuts] + [damaged] * bool(found.damage)
            if not taken.isdisjoint(names):
                raise ValueError(f"Expected unique names of clips, but those of {video.name!r} are taken; rename it.")
            taken.update(names)
            for clip in cuts:
                inputs += self.inputs_of(clip, video.path, len(inputs))
            if found.damage:
                inputs.append(Input(len(inputs), damaged, video.path))
        return inputs

    def _most_frames(self) -> int | None:
        """Give how many frames of a video are needed; ``None`` for all, or where times decide."""
        if self.clip_length is None or self.most is None or self.fps is not None:
            return None
        return (self.clip_length * self.most - 1) * self.stride + 1

    def why(self, item: Input) -> str:
        """Say what is wrong with a video."""
        found = scan(item.path, self._most_frames(), self.folder_fps)
        return found.damage or f"Expected a whole video at {item.path!r}, but it was damaged when the run began."

    def image_size(self, item: Input, codec: Codec) -> tuple[int, int] | None:
        """Give the size of a video's frames; what has none has no size, nor have frames that are too small to crop."""
        if item.part is None or (found := self.size or frame_size(item.path)) is None:
            return None
        return fitted_size(found, codec.multiple, self.crop)

    def load_frame(self, item: Input, moment: Moment, codec: Codec) -> Sample:
        """Read a frame, and resize, pad or crop it."""
        if self._open is None or self._open[0] != item.path:
            self.close()
            self._open = (item.path, open_frames(item.path, self.max_pixels))
        image = self._open[1].read(moment.frame)
        if self.size is not None:
            image = cover(image, *self.size)
        fitted = fit_to_multiple(image, codec.multiple, self.crop)
        height, width = (fitted if self.crop else image).shape[-2:]
        return Sample(item.name, fitted, (height, width))

    def close(self) -> None:
        """Close the video that was read last."""
        if self._open is not None:
            self._open[1].close()
        self._open = None

    def teardown(self, stage: str) -> None:
        """Close the video that was read last."""
        self.close()
