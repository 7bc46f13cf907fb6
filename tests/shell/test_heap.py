"""The C library is asked for what gives memory back, and need not know how."""

from __future__ import annotations

import platform

import pytest

from vidbench_operator.shell.heap import find_setter, keep_heap_small


def test_every_setting_is_asked_for_once() -> None:
    asked: dict[int, int] = {}

    def setter(name: int, value: int) -> int:
        assert name not in asked
        asked[name] = value
        return 1

    assert keep_heap_small(setter)
    assert asked == {-8: 1, -1: 131072, -3: 65536}


def test_a_library_that_refuses_or_has_none_of_it_does_no_harm() -> None:
    assert not keep_heap_small(lambda _name, value: int(value == 1))
    assert not keep_heap_small(None)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_glibc_takes_it() -> None:
    assert keep_heap_small(find_setter())
