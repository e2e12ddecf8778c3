"""Which column means what, and under which id a row is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.__main__ import main
from cli.imports.names import Kind
from cli.imports.plan import Wanted
from cli.imports.problems import Misused
from tests.unit.cli.test_import_rows import read

SALES = "Company ID;Company;ARR (USD);Renewal Date;Account Manager;Customer since;Customer Tier;E-Mail\n"
DryRun = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.csv"


@pytest.fixture
def dry_run(file: Path) -> DryRun:
    def call(*words: str, status: int = 0) -> Result:
        result = CliRunner().invoke(main, ["import", str(file), "--dry-run", *words])
        assert result.exit_code == status, result.output
        return result

    return call


def ids(found: tuple[list[dict[str, Any]], object]) -> list[str]:
    return [call["messageId"] for call in found[0]]


def test_a_sales_teams_table_is_understood_by_itself(file: Path) -> None:
    ((call,), refused) = read(file, SALES + "a1;Acme;$120k;2027-01-31;Tanaka;2020-05-01;Gold;\n")
    assert refused == []
    assert call["groupId"] == "a1"
    assert call["traits"] == {
        "name": "Acme",
        "arr": 120_000,
        "renewal_date": "2027-01-31",
        "owner": "Tanaka",
        "first_seen": "2020-05-01",
        "customer_tier": "Gold",
    }


def test_of_two_names_for_one_thing_the_better_wins(file: Path) -> None:
    ((call,), _) = read(file, "id,company_id,account_id,company,name\n1,2,3,Holding,Acme\n")
    assert call["groupId"] == "3"
    assert call["traits"] == {"id": 1, "company_id": 2, "company": "Holding", "name": "Acme"}
    rows = '{"event":"x","userId":"u","originalTimestamp":"2026-01-01","timestamp":"2026-01-02"}\n'
    ((call,), _) = read(file, rows)
    assert call["timestamp"] == "2026-01-02T00:00:00Z"


def test_somebody_says_which_column_is_which(file: Path) -> None:
    said = {"Nr": "account_id", "Umsatz": "arr", "PLZ": "zip:text", "Notiz": "", "Aktiv": "active:boolean"}
    ((call,), refused) = read(file, "Nr;Umsatz;PLZ;Notiz;Aktiv\n7;1.200,50;80331;x;yes\n", said=said)
    assert refused == []
    assert (call["groupId"], call["traits"]) == ("7", {"arr": 1200.5, "zip": "80331", "active": True})


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"Nobody": "account_id"}, '--map: file.csv has no column "Nobody"; it has: account_id, name.'),
        ({"name": "arr:money"}, '"name=arr:money": money is no type; there are plain, text, number,'),
        ({"name": "properties.x"}, '"name=properties.x": an account has no properties.x; did you mean traits.'),
        ({"name": "arr", "account_id": "arr"}, '"account_id=traits.arr": another column is traits.arr already'),
    ],
)
def test_what_cannot_be_meant_is_told_so(file: Path, said: dict[str, str], sentence: str) -> None:
    with pytest.raises(Misused) as told:
        read(file, "account_id,name\na1,Acme\n", said=said, kind=Kind.ACCOUNTS)
    assert sentence in told.value.message


def test_an_event_has_the_same_id_however_its_file_is_written_or_read(file: Path) -> None:
    header, row = "event,user_id,timestamp,note", "Login,u1,2026-01-01,"
    first = ids(read(file, f"{header}\n{row}\n"))
    assert first[0].startswith("import-")
    assert ids(read(file, "user_id;timestamp;event\nu1;2026-01-01;Login\n")) == first, "another order, no empty column"
    assert ids(read(file, f"{header}\n{row}\n", said={"note": ""})) == first, "other columns"
    assert ids(read(file, f"{header}\n{row}\n{header.replace('event', 'x')}\n"))[:1] == first
    assert ids(read(file, f"{header}\n{row}x\n")) != first, "another row"


def test_rows_that_are_alike_are_as_many_events(file: Path) -> None:
    header, row, other = "event,user_id,timestamp\n", "Login,u1,2026-01-01\n", "Login,u2,2026-01-01\n"
    twice = ids(read(file, header + row * 2 + other))
    assert len(set(twice)) == 3
    assert set(ids(read(file, header + other + row * 2))) == set(twice), "in any order"
    assert set(ids(read(file, header + row * 3 + other))) > set(twice), "and with one more"


def test_ids_of_their_own(file: Path) -> None:
    header = "event,user_id,timestamp,message_id,nr\n"
    assert ids(read(file, header + "Login,u1,2026-01-01,m1,1\nLogin,u1,2026-01-01,m2,1\n")) == ["m1", "m2"]
    header = "event,user_id,timestamp,nr\n"
    rows = header + "Login,u1,2026-01-01,1\nLogin,u2,2026-01-02,1\nPaid,u1,2026-01-01,1\nPaid,u1,2026-01-01,\n"
    found = read(file, rows, id_column="nr")
    login, again, paid = ids(found)
    assert login == again != paid, "an id is one of its event's"
    assert found[1] == [(5, "missing_id")]


def test_an_accounts_row_is_news_when_it_says_something_else(file: Path) -> None:
    header = "account_id,arr,as_of\n"
    assert ids(read(file, header + "a1,1,2026-01-01\n")) == ids(read(file, header + 'a1,"1.0",2026-01-01\n'))
    different = ["a1,2,2026-01-01\n", "a1,1,2026-01-02\n", "a2,1,2026-01-01\n"]
    assert (
        len(
            {
                *ids(read(file, header + "a1,1,2026-01-01\n" + "".join(different[1:]))),
                *ids(read(file, header + different[0])),
            }
        )
        == 4
    )


def test_a_dry_run_shows_what_would_be_sent(file: Path, dry_run: DryRun) -> None:
    file.write_text("Company ID,Company\na1,Acme\n,Nobody\n")
    shown = dry_run("--kind", "accounts", "--as-of", "2026-01-31", status=1).stdout
    assert "Company ID  account_id   recognised" in shown
    assert "What it says is true as of 2026-01-31T00:00:00Z" in shown
    assert '{"groupId": "a1", "traits": {"name": "Acme"}, "type": "group", "timestamp": "2026-01-31T00:00:00Z"' in shown
    assert "2 rows; nothing was sent." in shown
    assert "missing_account_id  1     line 3  The row names no account." in shown
    assert list(file.parent.iterdir()) == [file]


def test_a_dry_run_shows_some_of_each_kind_that_would_be_refused(file: Path, dry_run: DryRun) -> None:
    arrs = ["1.200", "x", "soon", "later", "€ 5", "2.500"]
    file.write_text("account_id,arr\n" + "".join(f"a{n},{arr}\n" for n, arr in enumerate(arrs)) + ",7\n")
    shown = dry_run(status=1).stdout
    assert [f"line {number} " in shown for number in range(2, 9)] == [True, True, True, False, False, False, True]
    assert re.search(r"unreadable_number +5 +line 2 .+\n +line 3  arr: «x» is no number\.\n +line 4 ", shown)
    as_json = json.loads(dry_run("--json", status=1).stdout)
    assert as_json["would_be_refused"] == {"unreadable_number": 5, "missing_account_id": 1}
    assert [(one["line"], one["code"]) for one in as_json["refusals"]] == [
        (2, "unreadable_number"),
        (3, "unreadable_number"),
        (4, "unreadable_number"),
        (8, "missing_account_id"),
    ]


def test_a_mapping_kept_in_a_file(file: Path, dry_run: DryRun) -> None:
    mapping = file.with_name("mapping.yaml")
    file.write_bytes("Nr|Was|Wer|Wann\n1|Café|u1|31.12.2025\n".encode("latin-1"))
    mapping.write_text(
        "kind: events\nencoding: latin-1\ndate_format: '%d.%m.%Y'\nid_column: Nr\n"
        "columns:\n  Was: event\n  Wer: user_id\n  Wann: timestamp\n"
    )
    shown = dry_run("--mapping", str(mapping)).stdout
    assert '{"event": "Café", "userId": "u1", "timestamp": "2025-12-31T00:00:00Z"' in shown
    mapping.write_text("kind: events\ncolumns:\n  Was: event\n  Wo: user_id\n")
    assert (
        f'{mapping}, line 4: file.csv has no column "Wo"'
        in dry_run("--mapping", str(mapping), "--encoding", "latin-1", status=2).stderr
    )
    mapping.write_text("kind: people\n")
    assert f"{mapping}, line 1: kind: " in dry_run("--mapping", str(mapping), status=2).stderr


def test_a_decimal_comma_is_said_on_the_command_line_or_in_the_mapping(file: Path, dry_run: DryRun) -> None:
    mapping = file.with_name("mapping.yaml")
    file.write_text("account_id;arr\na1;€ 12.500\n")
    mapping.write_text("decimal_comma: true\n")
    assert '"traits": {"arr": 12500}' in dry_run("--decimal-comma").stdout
    assert '"traits": {"arr": 12500}' in dry_run("--mapping", str(mapping)).stdout


def test_dates_that_nobody_can_know_yet(file: Path) -> None:
    file.write_text("account_id,name\na1,Acme\n")
    result = CliRunner().invoke(main, ["import", str(file), "--dry-run", "--as-of", "2999-01-01"])
    assert (result.exit_code, "nobody knows anything as of then" in result.stderr) == (2, True)
    assert Wanted(path=str(file)).as_of is None
