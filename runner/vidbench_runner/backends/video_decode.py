"""A delivered video to frames. The bytes come from a server and are hostile: only real containers get to the decoder.

FFmpeg also reads playlists, which name other files and addresses; so the first bytes must be those of MP4, WebM or Matroska.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from vidbench_api.names import Reason
from vidbench_runner.ports import ClipRequest, ModelFailure

_MATROSKA: Final = b"\x1a\x45\xdf\xa3"
_MARGIN: Final = 16
"""A video of more than so many times the pixels that were asked for is not read on."""


def decode_video(content: bytes, clip: ClipRequest) -> Any:
    """Return the frames, uint8 RGB of shape (frames, height, width, 3), of the size that the video has.

    Raises:
        ModelFailure: OutputUnreadable: no video, a broken one, one without frames, or far more than was asked for.
    """
    import cv2
    import numpy as np

    if content[4:8] != b"ftyp" and not content.startswith(_MATROSKA):
        raise _unreadable(f"{len(content)} bytes that start like no MP4, WebM or Matroska file")
    most = _MARGIN * clip.frames * clip.height * clip.width * 3
    frames: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="vidbench-") as folder:
        file = Path(folder) / "video"
        file.write_bytes(content)
        capture = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG)
        try:
            announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            while (read := capture.read())[0]:
                frames.append(np.ascontiguousarray(read[1][:, :, ::-1]))
                if sum(frame.nbytes for frame in frames[-1:]) * len(frames) > most:
                    raise _unreadable(f"more than {_MARGIN} times the pixels that were asked for")
        finally:
            capture.release()
    if not frames:
        raise _unreadable(f"{len(content)} bytes of a video without a frame that can be decoded")
    if announced > len(frames):
        raise _unreadable(
            f"a video of {announced} frames, of which {len(frames)} can be decoded: it was cut or damaged"
        )
    return np.stack(frames)


def _unreadable(what: str) -> ModelFailure:
    return ModelFailure(Reason.OUTPUT_UNREADABLE, f"the server delivered {what}")
