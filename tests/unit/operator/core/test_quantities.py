"""Kubernetes quantities."""

from __future__ import annotations

import pytest

from vidbench_operator.core.quantities import parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("8", 8),
        ("0", 0),
        ("1500m", 1.5),
        ("0.5", 0.5),
        (".5", 0.5),
        ("32Gi", 32 * 2**30),
        ("33554432Ki", 32 * 2**30),
        ("2k", 2000),
        ("1G", 1e9),
        ("1e3", 1000),
        ("12E2", 1200),
        ("1E", 1e18),
        ("100n", 1e-7),
        (None, None),
        ("", None),
        ("-1", None),
        ("8 ", None),
        ("8gi", None),
        ("e3", None),
        (".", None),
    ],
)
def test_a_quantity_is_a_number_or_nothing(text: str | None, number: float | None) -> None:
    assert parse_quantity(text) == (None if number is None else pytest.approx(number))
