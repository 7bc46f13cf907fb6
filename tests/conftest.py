"""Settings of every test: what hypothesis may take its time for, and which tests are tried again. Nothing passes or fails by a clock."""

from __future__ import annotations

import pytest
from hypothesis import settings

MANY_PROCESSES = ("integration", "e2e", "pipelines")
"""Marks of tests that share the cores with a control plane, a kubelet or a model: what they wait for may come late."""

settings.register_profile("vidbench", deadline=None)
settings.load_profile("vidbench")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try a failed test of many processes once more, after the marks of the folders are set.

    The closing line counts every second try and its first traceback is printed: each is a defect to be found, of the
    test or of what it tests. A few in a session (`--max-suite-reruns`), so that what is broken stays red and ends soon.
    """
    for item in items:
        if any(item.get_closest_marker(mark) for mark in MANY_PROCESSES):
            item.add_marker(pytest.mark.flaky(reruns=1))
