"""The schemas of the database: whether the migrations have brought each to what this release expects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cli.doctor.findings import Finding, ok, problem, warning
from cli.doctor.server import MIGRATE
from libs.common.db import Database
from libs.common.expected_schema import revision_of
from libs.common.migrate import head_of, version_folders
from libs.common.settings import SERVICES


@dataclass(frozen=True)
class Revision:
    """``found`` is None when nobody has migrated the schema."""

    found: str | None
    needed: str

    @property
    def is_behind(self) -> bool:
        return self.found is None or self.found < self.needed  # they are numbered: health_0002, health_0003


@asynccontextmanager
async def as_role(url: str, role: str, schema: str) -> AsyncIterator[Database]:
    database = Database(url, role=role, schema=schema, pool_size=1, pool_seconds=5)
    try:
        yield database
    finally:
        await database.close()


def reader_of(schema: str) -> str:
    """The role that may see where a schema's migrations are."""
    if schema in SERVICES:
        return f"kizashi_{schema}_api"
    return "kizashi_log" if schema == "log" else "kizashi_ingest_api"


async def ask(url: str) -> Mapping[str, Revision]:
    """Of each schema. Raises NotStarted, RetryLater."""
    found = {}
    for schema in version_folders():
        async with as_role(url, reader_of(schema), schema) as database:
            found[schema] = Revision(await revision_of(database, schema), head_of(schema) or "")
    return found


def judge(revisions: Mapping[str, Revision]) -> Iterator[Finding]:
    for schema, revision in revisions.items():
        if revision.is_behind:
            yield problem(
                "schema_behind",
                f"The schema {schema} is at {revision.found or 'no revision'}, and this release needs "
                f"{revision.needed}: {schema if schema in SERVICES else 'who needs it'} does not start.",
                MIGRATE,
                about=schema,
            )
        elif revision.found != revision.needed:
            yield warning(
                "schema_ahead",
                f"The schema {schema} is at {revision.found}, and this kizashi, which is older, knows only "
                f"{revision.needed}.",
                "Ask again with the release that the services run, and replace services that are older too.",
                about=schema,
            )
    if not any(revision.found != revision.needed for revision in revisions.values()):
        yield ok("schemas", f"All {len(revisions)} schemas are at the revision that this release expects.")
