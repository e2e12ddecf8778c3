"""Schedules of faults can be repeated, printed and read back, and over many seeds every fault has its turn."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.schedule import (
    FEWEST,
    KINDS,
    LENGTH_SECONDS,
    MOST,
    ONLY_KAFKA,
    POINTS,
    START_SECONDS,
    Engine,
    Fault,
    FreezeAt,
    KillAt,
    SlackTrouble,
    SmtpTrouble,
    kinds_on,
    lines,
    parse,
    schedule,
)

ROOT = Path(__file__).parents[2]
SEEDS = range(50)
ALL = [(engine, seed, schedule(seed, engine)) for engine in Engine for seed in SEEDS]


def of(engine: Engine) -> list[Fault]:
    return [fault for one, _, faults in ALL if one is engine for fault in faults]


def test_the_same_seed_gives_the_same_schedule_in_another_process_too() -> None:
    code = "from tests.faults.schedule import *; print(lines(schedule(7, Engine.KAFKA)))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.strip() == lines(schedule(7, Engine.KAFKA))


def test_seeds_and_engines_differ() -> None:
    assert len({lines(faults) for _, _, faults in ALL}) == len(ALL)


def test_every_fault_is_a_line_that_can_be_read_back() -> None:
    for _, _, faults in ALL:
        assert tuple(map(parse, lines(faults).splitlines())) == faults


def test_a_line_reads_as_it_is_meant() -> None:
    fault = FreezeAt(at=1.5, service="notify", member=1, point="notify.connected", nth=2, seconds=4.0)
    line = "1.5 freeze-at service=notify member=1 point=notify.connected nth=2 seconds=4.0 within_seconds=5.0"
    assert str(fault) == line
    assert parse(line) == fault


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1.0 explode service=health", "is no fault"),
        ("1.0 kill service=health who=1", "does not belong to kill"),
        ("1.0 kill service=health", "is not whole"),
        ("soon kill service=health member=1", "could not convert"),
        ("1.0 slack trouble=sad times=1", "sad"),
    ],
)
def test_a_line_that_cannot_be_read_says_why(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(line)


@pytest.mark.parametrize("engine", Engine)
def test_every_kind_of_fault_has_its_turn_where_it_belongs_and_only_there(engine: Engine) -> None:
    assert {type(fault) for fault in of(engine)} == set(kinds_on(engine))
    assert set(kinds_on(Engine.KAFKA)) == set(KINDS)
    assert not ONLY_KAFKA & set(kinds_on(Engine.POSTGRES))


def test_every_failpoint_and_every_trouble_has_its_turn() -> None:
    everything = [*of(Engine.KAFKA), *of(Engine.POSTGRES)]
    points = {(fault.service, fault.point) for fault in everything if isinstance(fault, KillAt | FreezeAt)}
    assert points == {(service, point) for service, its in POINTS.items() for point in its}
    troubles = {fault.trouble for fault in everything if hasattr(fault, "trouble")}
    assert troubles == {*SlackTrouble, *SmtpTrouble}


def test_the_failpoints_are_those_of_the_code() -> None:
    named = re.compile(r'failpoint\("([a-z_.]+)"\)')
    code = {
        point
        for folder in (ROOT / "libs", ROOT / "services")
        for file in folder.rglob("*.py")
        for point in named.findall(file.read_text(encoding="utf-8"))
    }
    assert {point for its in POINTS.values() for point in its} <= code


def test_schedules_are_bounded_and_leave_each_target_to_one_fault_at_a_time() -> None:
    for _, _, faults in ALL:
        assert FEWEST <= len(faults) <= MOST
        assert list(faults) == sorted(faults, key=lambda fault: fault.at)
        free_from: dict[str, float] = {}
        for fault in faults:
            assert fault.at > 0
            assert fault.at + fault.lasts_seconds <= LENGTH_SECONDS
            assert fault.at >= free_from.get(fault.target, 0.0)
            free_from[fault.target] = fault.at + fault.lasts_seconds + START_SECONDS


def test_faults_of_different_targets_meet() -> None:
    meeting = [
        faults
        for _, _, faults in ALL
        if any(
            one.at <= other.at < one.at + one.lasts_seconds
            for one in faults
            for other in faults
            if other.target != one.target
        )
    ]
    assert len(meeting) > len(ALL) / 2
