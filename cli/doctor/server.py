"""The PostgreSQL server: whether it answers, lets us in, is new enough, keeps what it commits, and tells our time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from cli.doctor.findings import Finding, ok, problem, warning
from libs.common.clock import wall_now
from libs.common.database_urls import place_of
from libs.common.db import DRIVER_ERRORS, asyncpg_url
from libs.common.errors import NotStarted
from libs.common.settings import SERVICES

CONNECT_SECONDS = 5.0
OLDEST = 170_000
"""As PostgreSQL numbers its versions: 17, the first with transaction_timeout, which every session of ours sets."""
ROLES = (*(f"kizashi_{service}_{kind}" for service in SERVICES for kind in ("api", "worker")), "kizashi_log")
KEEPS_COMMITS = ("fsync", "synchronous_commit", "full_page_writes")
LITTLE, MUCH = timedelta(seconds=2), timedelta(minutes=1)
MIGRATE = "Run the migrations: python -m libs.common.migrate, with KIZASHI_OWNER_DATABASE_URL."


@dataclass(frozen=True)
class Server:
    """``roles``: those that exist -> whether the login may take them. ``off``: settings that are off. ``ahead``: its
    clock before ours, as exactly as half of ``round_trip``."""

    place: str
    login: str
    version: str
    version_number: int
    is_superuser: bool
    roles: Mapping[str, bool]
    off: Sequence[str]
    ahead: timedelta
    round_trip: timedelta


async def ask(url: str) -> Server:
    """Raises NotStarted with a sentence when nobody is let in, within CONNECT_SECONDS."""
    place = place_of(url)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await asyncpg.connect(asyncpg_url(url), server_settings={"application_name": "kizashi doctor"})
            try:
                return await _describe(connection, place)
            finally:
                connection.terminate()  # a frozen server would not let us leave in peace
    except (OSError, ValueError, *DRIVER_ERRORS) as exc:  # TimeoutError is an OSError
        raise NotStarted(_why_not(exc, place)) from exc


async def _describe(connection: asyncpg.Connection, place: str) -> Server:
    before = wall_now()
    there: datetime = await connection.fetchval("SELECT clock_timestamp()")
    round_trip = wall_now() - before
    row = await connection.fetchrow(
        "SELECT session_user AS login, current_setting('server_version') AS version, "
        "current_setting('server_version_num')::int AS number, usesuper FROM pg_user WHERE usename = session_user"
    )
    settings = await connection.fetch(
        "SELECT name FROM pg_settings WHERE name = ANY ($1) AND setting = 'off'", list(KEEPS_COMMITS)
    )
    roles = await connection.fetch(
        "SELECT rolname, pg_has_role(oid, 'MEMBER') AS may FROM pg_roles WHERE rolname = ANY ($1)", list(ROLES)
    )
    assert row is not None
    return Server(
        place=place,
        login=row["login"],
        version=row["version"],
        version_number=row["number"],
        is_superuser=row["usesuper"],
        roles={role["rolname"]: role["may"] for role in roles},
        off=[setting["name"] for setting in settings],
        ahead=there - before - round_trip / 2,
        round_trip=round_trip,
    )


def _why_not(exc: BaseException, place: str) -> str:
    correct = "correct KIZASHI_DATABASE_URL"
    match exc:
        case TimeoutError():
            return f"PostgreSQL at {place} has not answered within {CONNECT_SECONDS:.0f} s; start it, or {correct}."
        case asyncpg.InvalidPasswordError():
            return f"PostgreSQL at {place} refuses the password; correct KIZASHI_DATABASE_PASSWORD or the address."
        case asyncpg.InvalidAuthorizationSpecificationError():
            return f"PostgreSQL at {place} does not let us in ({exc}); {correct}, or let the migrations make the user."
        case asyncpg.InvalidCatalogNameError():
            return f"PostgreSQL at {place} has no such database; make it, or {correct}."
        case asyncpg.CannotConnectNowError():
            return f"PostgreSQL at {place} is starting or stopping ({exc}); look again in a moment."
        case asyncpg.TooManyConnectionsError():
            return (
                f"PostgreSQL at {place} has no connection left ({exc}); raise max_connections, or stop who takes them."
            )
        case OSError():
            return f"PostgreSQL at {place} does not answer ({exc.strerror or exc}); start it, or {correct}."
    return f"PostgreSQL at {place} cannot be asked ({type(exc).__name__}: {exc}); {correct}."


def judge(server: Server) -> Iterator[Finding]:
    yield ok("postgres", f"PostgreSQL {server.version} at {server.place} lets {server.login} in.")
    if server.version_number < OLDEST:
        yield problem(
            "postgres_old",
            f"PostgreSQL {server.version} is too old: no service can open a session on it.",
            "Move the database to PostgreSQL 17 or newer.",
        )
    if server.off:
        yield warning(
            "postgres_forgets",
            f"PostgreSQL runs with {' and '.join(server.off)} off: after a crash it may forget what it has committed, "
            "and then people are told twice.",
            "Turn that on, unless this is a test.",
        )
    if server.is_superuser:
        yield warning(
            "login_superuser",
            f"The services' login {server.login} is a superuser, whom no policy of a workspace holds back.",
            "Give the services the user kizashi, which the migrations make.",
        )
    yield from _judge_roles(server)


def _judge_roles(server: Server) -> Iterator[Finding]:
    missing = [role for role in ROLES if role not in server.roles]
    barred = [role for role, may in server.roles.items() if not may]
    if missing:
        which = "any role of Kizashi" if len(missing) == len(ROLES) else f"the roles {', '.join(missing)}"
        yield problem("roles_missing", f"The server does not have {which}.", MIGRATE)
    if barred:
        yield problem(
            "roles_barred",
            f"{server.login} may not take the roles {', '.join(sorted(barred))}.",
            "Run the migrations, which allow it to the user kizashi, and let the services log in as that.",
        )
    if not missing and not barred:
        yield ok("roles", f"{server.login} may take all {len(ROLES)} roles of the services and the log.")


def judge_clock(server: Server) -> Finding:
    ahead, behind = server.ahead - server.round_trip / 2, -server.ahead - server.round_trip / 2
    skew, how = (ahead, "ahead of") if ahead > behind else (behind, "behind")
    if skew <= LITTLE:
        return ok("clock", "This machine and PostgreSQL agree about the time.")
    sentence = f"PostgreSQL's clock is {skew.total_seconds():,.0f} s {how} this machine's."
    remedy = "Let both machines keep time by NTP: silence is noticed, and locks expire, by so many seconds wrongly."
    return problem("clock", sentence, remedy) if skew > MUCH else warning("clock", sentence, remedy)
