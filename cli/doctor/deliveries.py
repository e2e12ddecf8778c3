"""What each workspace lets leave the house, and what waits to leave it though it may."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cli.doctor.findings import Finding, ok, warning
from cli.doctor.schemas import as_role, reader_of
from cli.printing import age, counted, plain
from libs.common.db import text

LATE = "2 minutes"


@dataclass(frozen=True)
class Mode:
    """Of one workspace."""

    workspace: str
    is_observing: bool
    is_killed: bool


@dataclass(frozen=True)
class Waiting:
    """Deliveries of a workspace and a channel that should have left; ``why`` is notify's own word for it."""

    workspace: str
    channel: str
    why: str
    number: int
    seconds: float


async def ask_modes(url: str, workspaces: Mapping[int, str]) -> Sequence[Mode]:
    async with as_role(url, reader_of("notify"), "notify") as database, database.transaction(workspaces) as connection:
        rows = await connection.execute(text("SELECT workspace_id, mode, kill_switch FROM delivery_mode"))
        said = {row.workspace_id: row for row in rows}
    # Who has said nothing yet is in observe.
    return [
        Mode(name, said[number].mode == "observe", said[number].kill_switch)
        if number in said
        else Mode(name, True, False)
        for number, name in workspaces.items()
    ]


async def ask_waiting(url: str, workspaces: Mapping[int, str]) -> Sequence[Waiting]:
    """Raises NotStarted, RetryLater."""
    async with as_role(url, reader_of("notify"), "notify") as database, database.transaction(workspaces) as connection:
        rows = await connection.execute(
            text(
                "SELECT d.workspace_id, d.channel, coalesce(d.last_problem, s.waiting_for) AS why, count(*) AS number, "
                "CAST(extract(epoch FROM now() - min(d.due_at)) AS float8) AS seconds "
                "FROM schedule s JOIN delivery d USING (workspace_id, delivery_id) "
                f"WHERE d.due_at < now() - interval '{LATE}' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
            )
        )
        return [
            Waiting(workspaces[row.workspace_id], row.channel, plain(row.why), row.number, row.seconds) for row in rows
        ]


def judge_modes(modes: Sequence[Mode]) -> Iterator[Finding]:
    for one in modes:
        if one.is_killed:
            yield warning(
                "killed",
                f"The kill switch of {one.workspace} is set: nothing leaves, and nobody is told anything.",
                "`kizashi notify kill --release` ends that.",
                about=one.workspace,
            )
        if one.is_observing:
            yield warning(
                "observe",
                f"{one.workspace} is in observe: everything is decided and recorded, and nobody is told.",
                "When you agree with what it would tell: `kizashi notify enable`.",
                about=one.workspace,
            )
        if not one.is_killed and not one.is_observing:
            yield ok("enabled", f"{one.workspace} tells people: messages leave the house.", about=one.workspace)


def judge_waiting(waiting: Sequence[Waiting]) -> Iterator[Finding]:
    for one in waiting:
        yield warning(
            "deliveries_wait",
            f"{counted(one.number, 'message')} of {one.workspace} for {one.channel} should have left; the oldest has "
            f"waited for {age(one.seconds)} ({one.why}).",
            "They go by themselves once the cause is mended, and are given up after a day; GET /v1/deliveries at "
            "notify has all of them.",
            about=one.workspace,
        )
