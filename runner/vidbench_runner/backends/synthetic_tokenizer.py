"""A tokenizer without files: pieces of words get ids by their checksum, below a vocabulary's size.

It gives about as many tokens as a trained one does for English, which is all that random weights can tell of it.
"""

from __future__ import annotations

import re
import zlib
from functools import cache
from importlib import import_module
from typing import Any

PADDING, END, UNKNOWN = "<pad>", "</s>", "<unk>"
SPECIAL = (PADDING, END, UNKNOWN)
LONGEST_PIECE = 6
_PIECE = re.compile(rf"\w{{1,{LONGEST_PIECE}}}|[^\w\s]")


def pieces(text: str) -> list[str]:
    """Split a text into words of at most `LONGEST_PIECE` letters, and signs."""
    return _PIECE.findall(text)


def piece_id(piece: str, vocabulary: int) -> int:
    """The id of a piece: the same in every process, above those of the special tokens."""
    return len(SPECIAL) + zlib.crc32(piece.encode()) % (vocabulary - len(SPECIAL))


def make_tokenizer(vocabulary: int, maximum_length: int) -> Any:
    """A tokenizer of transformers whose ids are below `vocabulary`, which cuts texts at `maximum_length`."""
    return _tokenizer_class()(
        vocabulary=vocabulary,
        model_max_length=maximum_length,
        pad_token=PADDING,
        eos_token=END,
        unk_token=UNKNOWN,
    )


@cache
def _tokenizer_class() -> Any:
    base: Any = import_module("transformers").PreTrainedTokenizer

    class SyntheticTokenizer(base):  # type: ignore[misc]
        """See the module."""

        model_input_names = ("input_ids", "attention_mask")

        def __init__(self, vocabulary: int, **options: Any) -> None:
            self.vocabulary = vocabulary
            super().__init__(vocabulary=vocabulary, **options)

        @property
        def vocab_size(self) -> int:
            """How many ids there are."""
            return self.vocabulary

        def get_vocab(self) -> dict[str, int]:
            """What has a fixed id."""
            return {token: index for index, token in enumerate(SPECIAL)}

        def _tokenize(self, text: str, **_options: Any) -> list[str]:
            return pieces(text)

        def _convert_token_to_id(self, token: str) -> int:
            return SPECIAL.index(token) if token in SPECIAL else piece_id(token, self.vocabulary)

        def _convert_id_to_token(self, index: int) -> str:
            return SPECIAL[index] if index < len(SPECIAL) else f"<{index}>"

        def build_inputs_with_special_tokens(self, first: list[int], second: list[int] | None = None) -> list[int]:
            """Put the end behind each text."""
            return [*first, SPECIAL.index(END), *((*second, SPECIAL.index(END)) if second else ())]

    return SyntheticTokenizer
