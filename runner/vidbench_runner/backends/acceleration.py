"""What makes the denoisers faster: the attention backend and torch.compile; and how much was compiled in each clip.

Refuses what a class or a machine cannot honour, with the reason, instead of running something else. Set after the placement
and before the phase seam.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vidbench_api.names import Reason
from vidbench_api.verdict import Phase
from vidbench_runner.backends.seam import phase_of_module
from vidbench_runner.ports import Clock, ModelFailure, ModelRequest

ATTENTION: Mapping[str, str] = MappingProxyType(
    {
        "Native": "native",
        "NativeMath": "_native_math",
        "NativeEfficient": "_native_efficient",
        "NativeFlash": "_native_flash",
        "NativeCudnn": "_native_cudnn",
        "Flash2": "flash",
        "Flash3": "_flash_3",
        "Sage": "sage",
    }
)
"""The libraries' names (diffusers 0.42.1, `AttentionBackendName`)."""

COMPILE_MODES: Mapping[str, str] = MappingProxyType(
    {"Default": "default", "ReduceOverhead": "reduce-overhead", "MaxAutotune": "max-autotune"}
)
SPARSE_ATTENTION = "nabla"
"""What Kandinsky 5 calls it in a denoiser's configuration."""

C_COMPILERS = ("cc", "gcc", "clang")
"""Inductor builds its kernels for the CPU, and Triton its launchers, with the first of them; CC names another one."""


def accelerate(pipeline: Any, request: ModelRequest) -> None:
    """Set the attention backend and compile the denoisers, as far as the request asks for it.

    Raises:
        ModelFailure: UnsupportedOption.
    """
    _refuse_sparse_attention(pipeline)
    if request.attention != "Default":
        _choose_attention(pipeline, request.attention)
    if request.compile != "None":
        if request.offload != "None":
            raise _unsupported(f"compile {request.compile} does not go with offload {request.offload}")
        _compile(pipeline, request.compile)


def denoisers(pipeline: Any) -> Iterator[Any]:
    """The modules of a pipeline that denoise, each once."""
    seen: set[int] = set()
    for name, part in pipeline.components.items():
        if phase_of_module(name) is Phase.DENOISE and hasattr(part, "_call_impl") and id(part) not in seen:
            seen.add(id(part))
            yield part


def has_choice_of_attention(denoiser: Any) -> bool:
    """Whether some attention of a denoiser asks which backend computes it; in others a choice would be ignored."""
    return any(hasattr(getattr(module, "processor", None), "_attention_backend") for module in denoiser.modules())


def _refuse_sparse_attention(pipeline: Any) -> None:
    """Refuse a denoiser whose attention leaves out blocks by a mask that only the backend `flex` reads (diffusers 0.42.1).

    Native attention fails on the mask in the first call. `flex` that is not compiled computes every block all the same: its figures
    would be those of another model.
    """
    for denoiser in denoisers(pipeline):
        if getattr(getattr(denoiser, "config", None), "attention_type", None) == SPARSE_ATTENTION:
            raise _unsupported(
                f"{type(denoiser).__name__} is configured for sparse attention (attention_type: {SPARSE_ATTENTION}), which needs"
                " the attention backend flex, compiled; no attention of this version is that: use a model with full attention"
            )


def _choose_attention(pipeline: Any, name: str) -> None:
    backend = ATTENTION.get(name)
    if backend is None:
        raise _unsupported(f"attention {name!r} is not known; use one of {', '.join(ATTENTION)}")
    for denoiser in denoisers(pipeline):
        if not has_choice_of_attention(denoiser):
            raise _unsupported(
                f"{type(pipeline).__name__} has no choice of attention: {type(denoiser).__name__} ignores it"
            )
        try:
            denoiser.set_attention_backend(backend)
        except (RuntimeError, ImportError, ValueError) as error:
            raise _unsupported(f"attention {name} does not work here: {error}") from error


def _compile(pipeline: Any, name: str) -> None:
    mode = COMPILE_MODES.get(name)
    if mode is None:
        raise _unsupported(f"compile {name!r} is not known; use one of {', '.join(COMPILE_MODES)}")
    if c_compiler() is None:
        raise _unsupported(f"compile {name} needs a C compiler, and this image has none of {', '.join(C_COMPILERS)}")
    for denoiser in denoisers(pipeline):
        denoiser.compile(mode=mode)


def c_compiler() -> str | None:
    """The path of the C compiler that compiled models are built with; None where there is none."""
    named = os.environ.get("CC")
    return next((path for path in map(shutil.which, ([named] if named else []) + list(C_COMPILERS)) if path), None)


def _unsupported(message: str) -> ModelFailure:
    return ModelFailure(Reason.UNSUPPORTED_OPTION, message)


@dataclass(frozen=True)
class Compilations:
    """What was compiled in one clip: how many graphs (a graph that was compiled again counts again), and how long."""

    count: int
    nanoseconds: int


class CompilationWatch:
    """Hears from torch when it compiles a graph. One watch a model; `close` it, as torch keeps its listeners for ever."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = 0
        self._count = 0
        self._nanoseconds = 0
        self._stop_hearing: Callable[[], None] = _listen(self._begin, self._end)

    def take(self) -> Compilations:
        """Return what was compiled since the last call of this."""
        taken = Compilations(self._count, self._nanoseconds)
        self._count = self._nanoseconds = 0
        return taken

    def close(self) -> None:
        """Hear no more."""
        self._stop_hearing()

    def _begin(self, _what: Any) -> None:
        self._started = self._clock.nanoseconds()

    def _end(self, _what: Any) -> None:
        self._count += 1
        self._nanoseconds += self._clock.nanoseconds() - self._started


def _listen(begin: Callable[[Any], None], end: Callable[[Any], None]) -> Callable[[], None]:
    from torch._dynamo.callback import callback_handler

    callback_handler.register_start_callback(begin)
    callback_handler.register_end_callback(end)

    def stop() -> None:
        # `torch._dynamo.reset` drops all listeners as well.
        if begin in callback_handler.start_callbacks:
            callback_handler.remove_start_callback(begin)
        if end in callback_handler.end_callbacks:
            callback_handler.remove_end_callback(end)

    return stop
