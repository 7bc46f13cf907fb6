"""Keeps the libraries' noise off the standard output and loses none of it: it all goes through `logging`.

Progress bars off, the libraries' own log handlers replaced by the process's, Python warnings turned into log lines. Also
finds, among what the libraries say while loading, that weights were missing and made up.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

MADE_UP_WEIGHTS = "newly initialized"
"""What diffusers and transformers say, as a mere warning, when a checkpoint lacks weights and random ones stand in."""

_logger = logging.getLogger(__name__)


def set_environment() -> None:
    """Set what the libraries read once at import: no remote code, no progress bars, no telemetry. Call before importing."""
    os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] = "true"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def route_logs() -> None:
    """Let diffusers and transformers log through the process's handlers, warnings and worse, and draw no bars."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_warning()
        library.disable_default_handler()
        library.enable_propagation()
        library.disable_progress_bar()


@contextmanager
def logged_warnings(during: str) -> Iterator[None]:
    """Turn Python warnings raised inside into log lines, also when the block fails."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        finally:
            for warning in caught:
                _logger.warning("%s: %s: %s", during, warning.category.__name__, warning.message)


class _Collector(logging.Handler):
    def __init__(self, phrase: str) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []
        self._phrase = phrase

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if self._phrase in message:
            self.found.append(message)


@contextmanager
def made_up_weights() -> Iterator[list[str]]:
    """Yield a list that fills with what the libraries say about weights that the checkpoint lacked."""
    collector = _Collector(MADE_UP_WEIGHTS)
    loggers = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    for logger in loggers:
        logger.addHandler(collector)
    try:
        yield collector.found
    finally:
        for logger in loggers:
            logger.removeHandler(collector)
