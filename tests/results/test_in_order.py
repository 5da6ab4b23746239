"""Tests of pose/results/in_order.py."""

from __future__ import annotations

import os
import time

import pytest

from pose.cli import UserError
from pose.results import in_order


def doubled_later(number):
    time.sleep(0.02 * (number % 3))
    return 2 * number, os.getpid()


def refuse(number):
    if number == 3:
        raise UserError(f"{number}: is three")
    return number


def end_at_three(number):
    if number == 3:
        os._exit(1)
    return number


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(in_order, "cores", lambda: 2)


def test_results_come_in_the_order_of_the_work(two_cores):
    with in_order.processes(5) as workers:
        found = list(workers(doubled_later, range(20)))
    assert [one[0] for one in found] == list(range(0, 40, 2))
    assert 1 <= len({one[1] for one in found}) <= 2 and os.getpid() not in {one[1] for one in found}


@pytest.mark.parametrize("wanted", [0, 1])
def test_little_work_is_done_here(two_cores, wanted):
    with in_order.processes(wanted) as workers:
        assert {one[1] for one in workers(doubled_later, range(2))} == {os.getpid()}


def test_few_results_wait(two_cores, monkeypatch):
    monkeypatch.setattr(in_order, "MOST_WAITING", 2)
    taken = []
    with in_order.processes(2) as workers:
        results = workers(refuse, (taken.append(number) or number + 10 for number in range(50)))
        assert next(results) == 10 and len(taken) == 4
        assert list(results) == list(range(11, 60))


def test_a_mistake_in_another_process_is_told_here(two_cores):
    with pytest.raises(UserError, match="^3: is three$"), in_order.processes(2) as workers:
        list(workers(refuse, range(50)))


def test_a_process_that_is_ended_is_told(two_cores):
    with pytest.raises(UserError, match="was ended from outside; did the memory run out"):
        with in_order.processes(2) as workers:
            list(workers(end_at_three, range(9)))
