"""Settings of every test: what hypothesis may take its time for. Nothing passes or fails by a clock."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("vidbench", deadline=None)
settings.load_profile("vidbench")
