"""Files as people have them: what `kizashi import` makes of each, before anything is sent."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.imports.file_lines import LONGEST_LINE_BYTES
from cli.imports.names import Kind
from cli.imports.plan import Wanted, planned
from cli.imports.problems import Misused, Stopped
from cli.imports.work import batches

Read = tuple[list[dict[str, Any]], list[tuple[int, str]]]
A1 = {"account_id": "a1", "name": "Acme"}


def read(path: Path, content: bytes | str, **wanted: Any) -> Read:
    """The calls, and line and code of what is refused."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with planned(Wanted(path=str(path), **wanted), None) as plan:
        calls: list[dict[str, Any]] = []
        refused: list[tuple[int, str]] = []
        for batch in batches(plan.rows, plan.calls, plan.digest):
            calls += [json.loads(call) for call in batch.calls]
            refused += [(one.line, one.code) for one in batch.refused]
    return calls, refused


def accounts(read: Read) -> list[dict[str, Any]]:
    return [{"account_id": call["groupId"], **call["traits"]} for call in read[0]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.csv"


ONE_ACCOUNT = {
    "commas": "account_id,name\na1,Acme\n",
    "no line feed at the end": "account_id,name\na1,Acme",
    "carriage returns": "account_id,name\r\na1,Acme\r\n",
    "semicolons": "account_id;name\na1;Acme\n",
    "tabs": "account_id\tname\na1\tAcme\n",
    "bars": "account_id|name\na1|Acme\n",
    "commas in a header by semicolons": 'account_id;name;"arr, yearly, net"\na1;Acme;\n',
    "a byte order mark": "\ufeffaccount_id,name\na1,Acme\n",
    "quotes": '"account_id","name"\n"a1","Acme"\n',
    "white space": " account_id , name\n a1 , Acme \n",
    "blank lines": "\n\naccount_id,name\n\na1,Acme\n\n,,\n",
    "empty cells": "account_id,name,arr\na1,Acme,\n",
    "a column without a name": "account_id,name,\na1,Acme,rest\n",
    "gzip": gzip.compress(b"account_id,name\na1,Acme\n"),
    "two gzips in a row": gzip.compress(b"account_id,name\n") + gzip.compress(b"a1,Acme\n"),
    "JSON lines": '{"account_id":"a1","name":"Acme","nothing":null}\n',
    "JSON lines with a byte order mark": '\ufeff{"account_id":"a1","name":"Acme"}\n\n',
    "JSON lines with traits": '{"groupId":"a1","traits":{"name":"Acme"}}\n',
    "the same twice in a row": "account_id,name\na1,Acme\na1,Acme\n",
}


@pytest.mark.parametrize("content", ONE_ACCOUNT.values(), ids=ONE_ACCOUNT)
def test_one_account_however_it_is_written(file: Path, content: bytes | str) -> None:
    found = read(file, content)
    assert accounts(found)[0] == A1
    assert found[1] == []
    assert len({call["messageId"] for call in found[0]}) == 1


BROKEN_ROWS = {
    "too few cells": ("a2\n", "ragged_row"),
    "too many cells": ("a2,Beta,Gamma\n", "ragged_row"),
    "a quote inside": ('a2,"Beta "the best" Inc"\n', "broken_quotes"),
    "a quote that nothing closes": ('a2,"Beta\n', "broken_quotes"),
    "not UTF-8": (b"a2,Caf\xe9\n", "wrong_encoding"),
    "no account": (",Beta\n", "missing_account_id"),
    "nothing said": ("a2,\n", "nothing_said"),
    "a second opinion": ("a1,Acme Inc\n", "contradiction"),
    "a very long line": ("a2," + "x" * LONGEST_LINE_BYTES + "\n", "line_too_long"),
}


@pytest.mark.parametrize(("broken", "code"), BROKEN_ROWS.values(), ids=BROKEN_ROWS)
def test_a_broken_row_costs_itself_and_no_other(file: Path, broken: bytes | str, code: str) -> None:
    good = "".join(f"b{n},Name\n" for n in range(2000))
    row = broken.encode() if isinstance(broken, str) else broken
    # Behind the sample: a file whose beginning is in another encoding is refused as a whole.
    found = read(file, b"account_id,name\na1,Acme\n" + good.encode() + row + b"a9,Last\n")
    assert found[1] == [(2003, code)]
    assert len(found[0]) == 2002
    assert accounts(found)[-1] == {"account_id": "a9", "name": "Last"}


def test_a_cell_may_hold_lines_and_its_row_is_named_by_the_first(file: Path) -> None:
    found = read(file, 'account_id,name\na1,"Acme\nInc"\n,"No\nbody"\na2,Beta\n')
    assert [one["name"] for one in accounts(found)] == ["Acme\nInc", "Beta"]
    assert found[1] == [(4, "missing_account_id")]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "shift_jis"])
def test_other_encodings(file: Path, encoding: str) -> None:
    name = "兆し" if encoding == "shift_jis" else "Café"
    content = f"account_id,name\na1,{name}\n".encode(encoding)
    assert accounts(read(file, content, encoding=encoding)) == [{"account_id": "a1", "name": name}]
    with pytest.raises(Misused, match=r"^file\.csv: Line 2: Byte 0x.. at column .* --encoding cp1252"):
        read(file, content)


JSON_LINES = {
    "not JSON": ("nope", "not_json"),
    "cut off": ('{"event":"Login"', "not_json"),
    "no object": ("[1]", "not_an_object"),
    "no event": ('{"userId":"u1","timestamp":"2026-01-01"}', "missing_event"),
    "no time": ('{"event":"Login","userId":"u1"}', "missing_timestamp"),
    "no readable time": ('{"event":"Login","userId":"u1","timestamp":"yesterday"}', "unreadable_moment"),
    "a time that is none": ('{"event":"Login","userId":"u1","timestamp":true}', "unreadable_moment"),
    "nobody": ('{"event":"Login","timestamp":"2026-01-01"}', "missing_user"),
}


@pytest.mark.parametrize(("broken", "code"), JSON_LINES.values(), ids=JSON_LINES)
def test_a_broken_line_of_json_costs_itself_and_no_other(file: Path, broken: str, code: str) -> None:
    good = '{"event":"Login","userId":"u1","timestamp":"2026-01-01T00:00:00Z"}'
    calls, refused = read(file, f"{good}\n{broken}\n{good}\n")
    assert (len(calls), refused) == (2, [(2, code)])


def test_what_sdks_and_python_write(file: Path) -> None:
    calls, refused = read(
        file,
        '{"type":"page","name":"Home","anonymousId":"x","messageId":"m1","timestamp":1767225600000,"sentAt":"2026"}\n'
        '{"type":"Identify","userId":"u","messageId":"m2","timestamp":"2026-01-01","traits":{"a":NaN,"b":{"c":1}}}\n'
        '{"event":"Paid","user_id":7,"group_id":"a1","timestamp":1767225600,"properties":{"n":1}}\n',
    )
    assert refused == []
    assert calls[0] == {
        "type": "page",
        "name": "Home",
        "anonymousId": "x",
        "messageId": "m1",
        "timestamp": "2026-01-01T00:00:00Z",
    }
    assert (calls[1]["type"], calls[1]["traits"]) == ("identify", {"a": None, "b": {"c": 1}})
    assert (calls[2]["type"], calls[2]["groupId"], calls[2]["userId"]) == ("track", "a1", 7)


def test_fields_of_another_product_by_their_path(file: Path) -> None:
    line = '{"event":"Signed Up","properties":{"distinct_id":"u1","time":1767225600,"$insert_id":"i1","plan":"pro"}}\n'
    said = {
        "properties.distinct_id": "user_id",
        "properties.time": "timestamp",
        "properties.$insert_id": "message_id",
    }
    ((call,), refused) = read(file, line, said=said)
    assert refused == []
    assert (call["userId"], call["timestamp"], call["messageId"]) == ("u1", "2026-01-01T00:00:00Z", "i1")
    assert call["properties"]["plan"] == "pro"


def test_a_table_of_events(file: Path) -> None:
    calls, refused = read(
        file,
        "event,user_id,timestamp,type,name,properties.plan,properties,Amount\n"
        'Paid,007,2026-01-01 10:00,premium,Home,pro,"{""n"":1}",1.50\n',
    )
    assert refused == []
    assert calls[0] == {
        "type": "track",
        "event": "Paid",
        "userId": "007",
        "timestamp": "2026-01-01T10:00:00Z",
        "messageId": calls[0]["messageId"],
        "properties": {"n": 1, "type": "premium", "name": "Home", "plan": "pro", "Amount": "1.50"},
    }


def test_events_of_other_kinds_in_a_table(file: Path) -> None:
    calls, refused = read(
        file,
        "type,event,user_id,account_id,timestamp,traits.email\n"
        "group,,u1,a1,2026-01-01,\nidentify,,u1,,2026-01-01,a@b.example\ntrack,Login,u1,,2026-01-01,\n",
    )
    assert refused == []
    assert [call["type"] for call in calls] == ["group", "identify", "track"]
    assert calls[1]["traits"] == {"email": "a@b.example"}


def test_a_row_that_has_not_happened_yet_is_refused_and_one_by_a_fast_clock_is_not(file: Path) -> None:
    now = datetime.now(UTC)
    soon = (now + timedelta(minutes=2)).isoformat()
    later = [(now + timedelta(hours=1)).isoformat(), "2231-01-01", str(int(now.timestamp() * 1000) + 86_400_000)]
    rows = "".join(f"Login,u1,{at}\n" for at in (soon, *later))
    found = read(file, "event,user_id,timestamp\n" + rows)
    assert (len(found[0]), found[1]) == (1, [(line, "timestamp_in_future") for line in (3, 4, 5)])
    found = read(file, "account_id,name,as_of,renewal_date\na1,Acme,2231-01-01,\na2,Beta,2026-01-01,2231-01-01\n")
    assert (len(found[0]), found[1]) == (1, [(2, "timestamp_in_future")])
    found = read(file, "event,user_id,At\nLogin,u1,2231-01-01\n", said={"At": "timestamp:date"})
    assert found[1] == [(2, "timestamp_in_future")], "whatever type somebody says"


def test_a_type_that_is_no_call_costs_its_row_and_no_other(file: Path) -> None:
    good = '{"type":"identify","userId":"u1","timestamp":"2026-01-01","traits":{"plan":"pro"}}\n'
    calls, refused = read(file, good + good.replace("identify", "delete") + good)
    assert ([call["type"] for call in calls], refused) == (["identify"] * 2, [(2, "unknown_type")])
    events = "event,user_id,timestamp,type\nPaid,u1,2026-01-01,premium\nPaid,u2,2026-01-01,page\n"
    calls, refused = read(file, events)
    assert refused == [], "a type of something else is a property, though one is called as a call is"
    assert [call["properties"] for call in calls] == [{"type": "premium"}, {"type": "page"}]


HOPELESS = {
    "nothing": ("", "It is empty"),
    "blank lines": ("\n\n", "It is empty"),
    "one array": ('[{"a":1}]', "It is one JSON array"),
    "UTF-16": ("account_id,name\na1,Acme\n".encode("utf-16"), "It is UTF-16"),
    "a workbook": (b"PK\x03\x04\x14\x00\x06\x00\x08\x00\xe9\n", "a workbook, as of Excel, .* save the sheet as CSV"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\n", "a workbook, as of Excel, .* save the sheet as CSV"),
    "lines by carriage return": ("account_id,name\ra1,Acme\r", "Its lines end with a carriage return alone"),
    "a header with a broken quote": ('account_id,"name\na1,Acme\n', "Its header cannot be read"),
    "two columns of one name": ("account_id,name,name\na1,x,y\n", 'Two columns are called "name"'),
    "no account": ("name,arr\nAcme,1\n", "It is not clear what its rows are"),
    "people": ("user_id,account_id,name\nu1,a1,Ada\n", "It is not clear what its rows are"),
    "no time": ("event,user_id\nLogin,u1\n", "It has no column that says when"),
    "no one": ("event,timestamp\nLogin,2026-01-01\n", "It has no column that says who"),
}


@pytest.mark.parametrize(("content", "sentence"), HOPELESS.values(), ids=HOPELESS)
def test_a_file_that_cannot_be_sent_is_told_so_as_a_whole(file: Path, content: bytes | str, sentence: str) -> None:
    with pytest.raises(Misused, match=sentence):
        read(file, content)


def test_of_two_columns_with_one_name_somebody_says_which(file: Path) -> None:
    found = read(file, "account_id,name,name\na1,Acme,Inc\n", said={"name#2": "legal_form"})
    assert accounts(found) == [{"account_id": "a1", "name": "Acme", "legal_form": "Inc"}]


def test_a_damaged_gzip_ends_it_where_it_is_damaged(file: Path) -> None:
    whole = gzip.compress("".join(["account_id,name\n", *(f"a{n},N{n}\n" for n in range(50_000))]).encode())
    with pytest.raises(Stopped, match=r"file\.csv cannot be read after line \d+: .* Get a whole copy of it\."):
        read(file, whole[: len(whole) // 2])


def test_rows_about_people_join_them_to_their_account(file: Path) -> None:
    calls, refused = read(file, "user_id,account_id,name\nu1,a1,Acme\nu2,a1,Acme\n", kind=Kind.ACCOUNTS)
    assert refused == []
    assert [(call["userId"], call["groupId"]) for call in calls] == [("u1", "a1"), ("u2", "a1")]
