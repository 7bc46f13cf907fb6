"""Marks every text that a person reads for translation; catalogues may follow without a change of code."""

from __future__ import annotations

import gettext

_translation = gettext.translation("vidbench", fallback=True)
_ = _translation.gettext
ngettext = _translation.ngettext
