"""Raw samples and lossless videos, into a directory that fsspec can reach.

Below the given directory: `<run>/<cell>/<shard>/<attempt>/`, with `samples.jsonl` (one line a sample, warm-ups marked),
`<sample>.mkv` (FFV1; sides of an odd length one pixel longer, see `write_video`) and, last of all, `verdict.json`. A video is read back and compared before it is stored, since its writer does not tell of errors.
Nothing is written while a sample runs, and the first sample's video only at the end, so that no sample starts on a device
that had more rest than the others.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vidbench_api.measured import ArtifactsFacts
from vidbench_api.request import RequestDocument
from vidbench_api.verdict import Verdict
from vidbench_runner.core.endings import StorageFailure
from vidbench_runner.core.plan import Attempt
from vidbench_runner.core.sample import MeasuredSample
from vidbench_runner.core.stored import SAMPLES_FILE, VERDICT_FILE, document_of

KeepVideos = Literal["None", "First", "All"]


class NoArtifacts:
    """A `SampleKeeper` that keeps nothing."""

    def keep(self, sample: MeasuredSample, frames: Any) -> None:
        """Let the sample go."""

    def store(self) -> None:
        """Store nothing."""

    def store_verdict(self, verdict: Verdict) -> None:
        """Store nothing."""


@dataclass(frozen=True)
class Destination:
    """Where artifacts go. `directory` is where this process writes, `uri` what users know the same place as."""

    directory: str
    uri: str
    path: str
    """`<run>/<cell>/<shard>/<attempt>`, below both."""

    @classmethod
    def of(cls, directory: str, request: RequestDocument, attempt: Attempt) -> Destination:
        """Return where an attempt's artifacts are, for who writes them and for who reads them."""
        path = f"{request.run.name}/{attempt.cell}/{attempt.shard}/{attempt.attempt}"
        return cls(directory, request.artifacts.storage_uri or directory, path)

    @property
    def folder(self) -> str:
        """Return the attempt's folder, where this process reaches it."""
        return f"{self.directory.rstrip('/')}/{self.path}"

    @property
    def public(self) -> str:
        """Return the attempt's folder as users know it."""
        return f"{self.uri.rstrip('/')}/{self.path}"


class ArtifactStore:
    """A `SampleKeeper` over fsspec."""

    def __init__(self, destination: Destination, keep_videos: KeepVideos, frames_per_second: int) -> None:
        self._destination = destination
        self._keep_videos = keep_videos
        self._frames_per_second = frames_per_second
        self._samples: list[MeasuredSample] = []
        self._videos: dict[str, dict[str, str | int]] = {}
        self._waiting: Callable[[], None] | None = None
        self._failure: StorageFailure | None = None

    def keep(self, sample: MeasuredSample, frames: Any) -> None:
        """Take a sample over; a video that cannot be stored is told by `store`."""
        self._samples.append(sample)
        if sample.warmup or self._keep_videos == "None" or self._failure is not None:
            return
        if self._keep_videos == "All":
            try:
                self._store_video(sample, frames)
            except StorageFailure as failure:
                self._failure = failure
        elif sample.number == 0:
            self._waiting = lambda: self._store_video(sample, frames)

    def store(self) -> ArtifactsFacts | None:
        """Store the samples' lines and what videos are left; None if there is no sample at all.

        Raises:
            StorageFailure: something could not be stored, now or before.
        """
        if self._failure is not None:
            raise self._failure
        if not self._samples:
            return None
        if self._waiting is not None:
            self._waiting()
        content = "".join(
            json.dumps(sample.to_line(self._videos.get(sample.name)), sort_keys=True) + "\n" for sample in self._samples
        ).encode()
        self._put_content(SAMPLES_FILE, content)
        return ArtifactsFacts(uri=self._destination.public, digest=hashlib.sha256(content).hexdigest())

    def store_verdict(self, verdict: Verdict) -> None:
        """Store the whole verdict, last of all, so that it can be found again if the termination message is lost.

        Raises:
            StorageFailure: it could not be stored.
        """
        self._put_content(VERDICT_FILE, document_of(verdict).encode())

    def _store_video(self, sample: MeasuredSample, frames: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="vidbench-") as folder:
            file = Path(folder) / f"{sample.name}.mkv"
            height, width = write_video(file, frames, self._frames_per_second)
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            self._put(file)
        self._videos[sample.name] = {"file": file.name, "sha256": digest, "height": height, "width": width}

    def _put_content(self, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="vidbench-") as folder:
            file = Path(folder) / name
            file.write_bytes(content)
            self._put(file)

    def _put(self, file: Path) -> None:
        """Copy a local file to the destination."""
        import fsspec

        target = self._destination.folder
        try:
            system, path = fsspec.core.url_to_fs(target)
            system.makedirs(path, exist_ok=True)
            system.put_file(str(file), f"{path}/{file.name}")
        except Exception as error:
            raise StorageFailure(f"{target}/{file.name} cannot be written: {type(error).__name__}: {error}") from error


def write_video(file: Path, frames: Any, frames_per_second: int) -> tuple[int, int]:
    """Write uint8 RGB frames (frames, height, width, 3) losslessly as FFV1, and prove it by reading them back.

    OpenCV's writer cuts odd sizes, so the last row or column of such frames is written twice. Returns height and width of the
    video; the frames are its top left part.

    Raises:
        StorageFailure: the file system is full, or the codec is missing.
    """
    import cv2
    import numpy as np

    height, width = (side + side % 2 for side in frames.shape[1:3])
    writer = cv2.VideoWriter(
        str(file), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), float(frames_per_second), (width, height)
    )
    try:
        if not writer.isOpened():
            raise StorageFailure(f"{file.name}: this OpenCV cannot write FFV1 videos of {width}x{height}")
        down, right = height - frames.shape[1], width - frames.shape[2]
        for frame in frames:
            whole = np.pad(frame, ((0, down), (0, right), (0, 0)), mode="edge") if down or right else frame
            writer.write(np.ascontiguousarray(whole[:, :, ::-1]))
    finally:
        writer.release()
    if not _holds(file, frames):
        raise StorageFailure(
            f"{file.name}: the video that was written ({width}x{height}) does not hold the frames; "
            "is the disk of TMPDIR full?"
        )
    return height, width


def _holds(file: Path, frames: Any) -> bool:
    import cv2
    import numpy as np

    capture = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG)
    try:
        for frame in frames:
            read, stored = capture.read()
            if not read or not np.array_equal(stored[: frame.shape[0], : frame.shape[1], ::-1], frame):
                return False
        return not capture.read()[0]
    finally:
        capture.release()
