"""The picture that leads an image-to-video clip: synthetic, drawn from the sample's seed, and said so in the result.

A workload has prompts only. What a clip costs does not depend on what the picture shows, and its quality is not judged.
"""

from __future__ import annotations

from typing import Any

GRID = 8
"""Height and width of the random colours that the picture blends between: smooth, with structure at every scale above."""


def synthetic_picture(seed: int, height: int, width: int) -> Any:
    """Return a PIL image (RGB, `width` x `height` pixels): the same for the same arguments on every machine."""
    import numpy as np
    from PIL import Image

    colours = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (GRID, GRID, 3), dtype=np.uint8)
    return Image.fromarray(colours, "RGB").resize((width, height), Image.Resampling.BILINEAR)
