"""Clips of which the quality is known: uint8 RGB arrays (frames, height, width, 3)."""

from __future__ import annotations

from typing import Any

import numpy as np


def texture(height: int = 96, width: int = 160, seed: int = 0, low: int = 40, high: int = 215) -> Any:
    """A smooth random picture (height, width, 3) with details of some pixels that differ by channel."""
    chance = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(chance.standard_normal((3, height, width)))
    across = np.fft.rfftfreq(width)[np.newaxis, :]
    down = np.fft.fftfreq(height)[:, np.newaxis]
    smooth = np.fft.irfft2(spectrum * np.exp(-((across**2 + down**2) / (2 * 0.05**2))), s=(height, width))
    smallest, largest = smooth.min(axis=(1, 2), keepdims=True), smooth.max(axis=(1, 2), keepdims=True)
    scaled = low + (high - low) * (smooth - smallest) / (largest - smallest)
    return np.ascontiguousarray(np.rint(scaled).astype(np.uint8).transpose(1, 2, 0))


def pan(frames: int = 8, step: int = 4, height: int = 96, width: int = 160, seed: int = 0) -> Any:
    """A window that moves over a texture: what is seen goes `step` pixels to the left a frame."""
    canvas = texture(height, width + step * frames, seed)
    return np.stack([canvas[:, step * number : step * number + width] for number in range(frames)])


def still(frames: int = 8, height: int = 96, width: int = 160, seed: int = 0) -> Any:
    """The same picture again and again."""
    return np.repeat(texture(height, width, seed)[np.newaxis], frames, axis=0)


def constant(level: int, frames: int = 6, height: int = 40, width: int = 48) -> Any:
    """One grey level everywhere."""
    return np.full((frames, height, width, 3), level, dtype=np.uint8)


def noise(frames: int = 6, height: int = 64, width: int = 96, seed: int = 0) -> Any:
    """Every value drawn apart, all levels alike."""
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def shifted(clip: Any, levels: Any) -> Any:
    """The clip with that many levels added to each frame; it must not leave the scale."""
    moved = clip.astype(np.int64) + np.asarray(levels).reshape(-1, 1, 1, 1)
    assert moved.min() >= 0
    assert moved.max() <= 255
    return moved.astype(np.uint8)
