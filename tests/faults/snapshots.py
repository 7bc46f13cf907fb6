"""Remembers which versions collections had, so that a list can be asked for as it once was. Pure but for its memory."""

from __future__ import annotations

import json
import re


class Snapshots:
    """The first resource version that was seen of each collection."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}

    def learn(self, path: str, content: bytes) -> None:
        """Note the version of a list's answer; anything else is left alone."""
        try:
            body = json.loads(content)
        except ValueError:
            return
        if not isinstance(body, dict) or not str(body.get("kind", "")).endswith("List"):
            return
        version = str((body.get("metadata") or {}).get("resourceVersion") or "")
        if re.fullmatch(r"[0-9]+", version):
            self._versions.setdefault(path, version)

    def query_for(self, path: str) -> str:
        """Return what to add to the URL of a list to get it as it was first seen; empty if it never was."""
        version = self._versions.get(path)
        return f"&resourceVersion={version}&resourceVersionMatch=Exact" if version else ""
