"""Generators side by side: what comes, in which order, and what happens when one fails or nobody listens any more."""

from __future__ import annotations

import threading

import pytest
import torch

from pose.segmenters.sam2.side_by_side import side_by_side


def counting(name, until, seen=None):
    for number in range(until):
        if seen is not None:
            seen.append((threading.get_ident(), torch.get_num_threads()))
        yield name, number


def test_each_gives_so_many_in_its_order_and_goes_on_afterwards():
    a, b = counting("a", 5), counting("b", 3)
    items = list(side_by_side([a, b], 3))
    assert [item for item in items if item[0] == "a"] == [("a", 0), ("a", 1), ("a", 2)]
    assert [item for item in items if item[0] == "b"] == [("b", 0), ("b", 1), ("b", 2)]
    assert list(a) == [("a", 3), ("a", 4)] and list(b) == []


def test_they_work_at_once():
    meet = threading.Barrier(2, timeout=20)

    def meeting(name):
        meet.wait()
        yield name

    assert sorted(side_by_side([meeting("a"), meeting("b")], 1)) == ["a", "b"]


def test_threads_are_shared_and_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        seen: list = []
        list(side_by_side([counting("a", 2, seen), counting("b", 2, seen)], 2))
        assert len({thread for thread, _ in seen}) == 2 and {number for _, number in seen} == {2}
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_an_error_comes_through_and_ends_the_others():
    def failing():
        yield "first"
        raise ValueError("broken")

    alive = threading.active_count()
    with pytest.raises(ValueError, match="broken"):
        list(side_by_side([failing(), counting("b", 1000)], 1000))
    assert threading.active_count() == alive


def test_nobody_works_on_when_nobody_listens():
    alive = threading.active_count()
    items = side_by_side([counting("a", 1000), counting("b", 1000)], 1000)
    next(items)
    items.close()
    assert threading.active_count() == alive
