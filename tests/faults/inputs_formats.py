"""Files that are not what they are called; encodings; and csv, tsv, json, jsonl and parquet that are broken."""

from __future__ import annotations

import gzip
import os

import pyarrow as pa
import pyarrow.parquet as pq

from faults.inputs import GOOD, HEAD, ROWS, TWO, TYPED, hollow, no_utf_8, objects, parquet_bytes, refused, seen, twice

FILES = [
    refused("no such file", "d.csv", ROWS, "no such file. Did you mean 'd.csv'?", train="c.csv"),
    refused("a folder", "d.csv", lambda path: path.mkdir(), "no text files in it, allowed: a folder per label"),
    refused("a symlink loop", "d.csv", lambda path: path.symlink_to(path), "too many levels of symbolic links"),
    refused("a dead symlink", "d.csv", lambda path: path.symlink_to("gone"), "no such file"),
    refused("a pipe", "d.csv", lambda path: os.mkfifo(path), "a pipe or a device, allowed: a file"),
    refused("a device", "d.csv", lambda path: path.symlink_to("/dev/zero"), "a pipe or a device"),
    refused("a file as a folder", "d.csv", ROWS, "no such file", train="d.csv/e.csv"),
    refused("a name too long", "d.csv", ROWS, "up to 255 bytes", train="n" * 300 + ".csv"),
    refused("no ending", "data", ROWS, "cannot tell its format from ''", "allowed: .csv, .tsv"),
    refused("packed", "d.csv.gz", gzip.compress(ROWS.encode()), "cannot tell its format from '.gz'"),
    refused("packed, renamed", "d.csv", gzip.compress(ROWS.encode()), "compressed with gzip; unpack it"),
    refused("a spreadsheet", "d.csv", b"PK\3\4\x14\0\6\0" + bytes(40), "a zip archive or a spreadsheet"),
    refused("parquet as csv", "d.csv", lambda path: pq.write_table(pa.table(dict(TYPED)), path), "name it .parquet"),
    refused("csv as parquet", "d.parquet", ROWS, "not a readable parquet file"),
    refused("json as csv", "d.csv", f"[{GOOD}]", "no column 'text'"),
    refused("csv as json", "d.json", ROWS, "line 1: not valid json"),
    refused("csv as jsonl", "d.jsonl", ROWS, "line 1: not valid json"),
    refused("jsonl as json", "d.json", objects(GOOD, GOOD), "line 2: not valid json", "name it .jsonl"),
    refused("json as jsonl", "d.jsonl", f"[{GOOD}]\n", "line 1 is a list, allowed: an object"),
    *(refused(f"an empty file, {end}", f"d.{end}", "", "the file is empty") for end in ("csv", "tsv", "json", "jsonl")),
    refused("an empty parquet", "d.parquet", "", "not a readable parquet file"),
    refused("white space alone", "d.csv", " \n\n \t\n", "the file is empty"),
    refused("a mark alone", "d.csv", b"\xef\xbb\xbf", "the file is empty"),
]

ENCODINGS = [
    seen("utf-8 with its mark", "d.csv", b"\xef\xbb\xbf" + b"text,label\na,x\n", ("a", "x")),
    seen("utf-8 with its mark, jsonl", "d.jsonl", b"\xef\xbb\xbf" + GOOD.encode(), ("a", "x")),
    seen("utf-16, named", "d.csv", "text,label\ncafé,x\n".encode("utf-16"), ("café", "x"), encoding="utf-16"),
    refused("utf-16", "d.csv", ROWS.encode("utf-16"), "UTF-16, not UTF-8; add dataset.encoding=utf-16"),
    refused("utf-16 without a mark", "d.csv", ROWS.encode("utf-16-le"), "line 1 holds a NUL character"),
    refused("utf-32", "d.csv", ROWS.encode("utf-32"), "UTF-32, not UTF-8; add dataset.encoding=utf-32"),
    refused("utf-8 as utf-16", "d.csv", ROWS + "x", "no column 'text'", encoding="utf-16"),
    refused("marked utf-8 as cp1252", "d.csv", "\ufeff" + ROWS, "it is UTF-8, not CP1252", encoding="cp1252"),
    refused("two marks", "d.csv", "\ufeff\ufeff" + ROWS, "line 1 begins with a second byte order mark"),
    refused("latin-1", "d.csv", b"text,label\na,x\ncaf\xe9,y\n", "line 3 is not utf-8 (byte 0xe9)", "cp1252"),
    refused("latin-1, jsonl", "d.jsonl", b'{"text": "caf\xe9", "label": "x"}\n', "line 1 is not utf-8"),
    seen("latin-1, named", "d.csv", b"text,label\ncaf\xe9,\xfc\n", ("café", "ü"), encoding="latin-1"),
    refused("half a utf-8 character", "d.csv", "text,label\na,é".encode()[:-1], "line 2 is not utf-8"),
    refused("a surrogate as bytes", "d.csv", b"text,label\n\xed\xa0\xbd,x\n", "line 2 is not utf-8 (byte 0xed)"),
    refused("no encoding", "d.csv", ROWS, "dataset.encoding: got 'klingon'", encoding="klingon"),
    refused("an encoding of bytes", "d.csv", ROWS, "dataset.encoding: got 'hex'", encoding="hex"),
    refused("an encoding of names", "d.csv", ROWS, "dataset.encoding: got 'idna'", encoding="idna"),
    refused("a NUL byte", "d.csv", "text,label\na,x\nb\0,y\n", "line 3 holds a NUL character"),
    refused("a NUL escape", "d.jsonl", '{"text": "a\\u0000", "label": "x"}', "row 1, column 'text': a NUL character"),
    refused("a NUL in parquet", "d.parquet", [*TYPED, ("label", ["x", "\0"])], "row 2, column 'label': a NUL"),
    refused("half a character", "d.jsonl", '{"text": "\\ud83d", "label": "x"}', "row 1, column 'text': half a char"),
    refused("half a label", "d.jsonl", '{"text": "a", "label": "\\ude00"}', "row 1, column 'label': half a char"),
    refused(
        "half a slice",
        "d.json",
        '[{"text": "a", "label": "x", "of": "\\ud83d"}]',
        "row 1, column 'of': half a character",
        slice_columns="[of]",
    ),
    seen("a character in two halves", "d.jsonl", '{"text": "\\ud83d\\ude42", "label": "x"}', ("🙂", "x")),
]

SEPARATED = [
    refused("a header alone", "d.csv", HEAD, "no rows; it needs a header and at least one row"),
    refused("no header", "d.csv", "good,x\nbad,y\n", "no column 'text'", "it has good, x"),
    refused("another separator", "d.csv", "text;label\na;x\n", "no column 'text'", "add 'dataset.separator=;'"),
    refused("tabs in a csv", "d.csv", "text\tlabel\na\tx\n", "no column 'text'"),
    refused("another case", "d.csv", "Text,Label\na,x\n", "no column 'text'", "Did you mean 'Text'?"),
    refused("no label column", "d.csv", "text,stars\na,x\n", "dataset.label_column: no column 'label'"),
    refused("a column twice", "d.csv", "text,label,text\na,x,b\n", "line 1 names the column 'text' twice"),
    refused("two nameless columns", "d.csv", "text,label,,\na,x,,\n", "line 1 has empty names"),
    refused("a field too many", "d.csv", HEAD + "a,x\nb, c,y\n", "line 3 has 3 fields, the header has 2"),
    refused("a field too few", "d.tsv", "text\tlabel\na\tx\nb\n", "line 3 has 1 fields, the header has 2"),
    refused("an unclosed quote", "d.csv", HEAD + 'a,x\n"b,y\nc,x\n', "line 3: unexpected end of data"),
    refused("words behind a quote", "d.csv", HEAD + '"good" film,x\n', "line 2: ", "double a quote inside"),
    refused("a quote too many", "d.csv", HEAD + '"he said "no" to it",x\n', "line 2: "),
    seen("quotes within a field", "d.csv", HEAD + 'a 5" disk,x\n"a ""b""",y\n', ('a 5" disk', "x"), ('a "b"', "y")),
    seen("quotes as they are", "d.csv", HEAD + '"open,x\n', ('"open', "x"), quoting=False),
    seen("carriage returns", "d.csv", "text,label\ra,x\rb,y\r", *TWO),
    seen("mixed endings", "d.csv", "text,label\r\na,x\nb,y\rc,x\r\n", *TWO, ("c", "x")),
    refused("a carriage return, unquoted", "d.csv", HEAD + "a,x\rb,y\n", "line 2 holds a carriage", quoting="false"),
    seen("line breaks in a field", "d.csv", HEAD + '"a\r\nb",x\n\n"\nc",y\n', ("a\r\nb", "x"), ("\nc", "y")),
    seen("a line separator", "d.csv", HEAD + "a\u2028b\x85c,x\n", ("a\u2028b\x85c", "x")),
    seen("a huge field", "d.csv", HEAD + "a" * 3_000_000 + ",x\n", ("a" * 3_000_000, "x")),
    seen("empty lines", "d.csv", "\n\ntext,label\n\na,x\n\n\nb,y", *TWO),
    refused("one quote for a header", "d.csv", '"\na,x\n', "line 1: unexpected end of data"),
    refused("a header that was named", "d.csv", HEAD + "a,x\n", "line 1 is a header", columns="[text,label]"),
    refused("columns named twice", "d.csv", "a,x\n", "dataset.columns: names the column 't'", columns="[t,t]"),
    refused("text and label in one", "d.csv", ROWS, "dataset.label_column: 'text' is the column", label_column="text"),
    refused("an endless header", "d.csv", "t" * 10**6 + "," + "l" * 10**6 + "\na,b\n", "no column 'text'", "…"),
]

OBJECTS = [
    refused("an object", "d.json", '{"text": ["a"], "label": ["x"]}', "got an object, allowed: a list of objects"),
    refused("a word", "d.json", '"text"', "got text, allowed: a list of objects"),
    refused("an empty list", "d.json", "[]", "got a list, allowed: a list of objects, one a row"),
    refused("lists in a list", "d.json", '[["a", "x"]]', "item 1 is a list, allowed: an object"),
    refused("a field twice", "d.jsonl", '{"text": "a", "label": "x", "label": "y"}', "line 1 names a field twice"),
    refused("a field twice in an array", "d.json", f'[{GOOD}, {{"text": "a", "text": "b"}}]', "item 2 names a field"),
    refused("a broken line", "d.jsonl", objects(GOOD, '{"text": "b"'), "line 2: not valid json"),
    refused("two objects a line", "d.jsonl", objects(GOOD + GOOD), "line 1: not valid json (Extra data)"),
    refused("carriage returns, jsonl", "d.jsonl", f"{GOOD}\r{GOOD}\r", "line 1: not valid json"),
    refused("single quotes", "d.json", "[{'text': 'a'}]", "line 1: not valid json"),
    refused("deep nesting", "d.json", "[" * 100_000, "too deep to read"),
    refused("deep nesting, jsonl", "d.jsonl", objects(GOOD, '{"a":' * 100_000), "line 2", "too deep to read"),
    refused("endless digits", "d.jsonl", objects(GOOD, '{"label": ' + "9" * 5000 + "}"), "line 2", "too many digits"),
    refused("a missing field", "d.jsonl", objects(GOOD, '{"text": "b"}'), "row 2, column 'label': the label is empty"),
    refused("no text field", "d.jsonl", '{"txt": "a", "label": "x"}', "no column 'text'", "Did you mean 'txt'?"),
    refused("a null text", "d.jsonl", '{"text": null, "label": "x"}', "row 1, column 'text': the text is empty"),
    refused("a number as a text", "d.json", '[{"text": 5, "label": "x"}]', "column 'text': got a number (5)"),
    refused("a list as a text", "d.jsonl", '{"text": ["a"], "label": "x"}', "column 'text': got a list, allowed: text"),
    refused("NaN as a text", "d.jsonl", '{"text": NaN, "label": "x"}', "row 1, column 'text': got a number (nan)"),
    refused("NaN as a label", "d.jsonl", '{"text": "a", "label": NaN}', "row 1, column 'label': got a number (nan)"),
    refused(
        "infinity", "d.jsonl", '{"text": "a", "label": -Infinity}', "got a number (-inf), allowed: text or a whole"
    ),
    refused("a fraction as a label", "d.json", '[{"text": "a", "label": 1.0}]', "row 1", "got a number (1.0)"),
    refused("an object as a label", "d.jsonl", '{"text": "a", "label": {"x": 1}}', "got an object, allowed: text"),
    refused("a list in a list of labels", "d.jsonl", '{"text": "a", "label": [["x"]]}', "got a list, allowed: text"),
    refused("a null label", "d.jsonl", '{"text": "a", "label": null}', "column 'label': the label is empty"),
    seen("NaN where nobody looks", "d.jsonl", '{"text": "a", "label": "x", "id": NaN}', ("a", "x")),
    seen("line separators in json", "d.jsonl", '{"text": "a\u2028b\x85", "label": "x"}\r\n', ("a\u2028b\x85", "x")),
    seen("escapes", "d.jsonl", r'{"text": "a\n\u00e9\"", "label": "\t x"}', ('a\né"', "x")),
]

PARQUET = [
    refused("cut parquet", "d.parquet", lambda path: path.write_bytes(parquet_bytes()[:-20]), "not a readable parquet"),
    refused(
        "parquet without its middle", "d.parquet", lambda path: path.write_bytes(hollow()), "not a readable parquet"
    ),
    refused("no rows, parquet", "d.parquet", [("text", pa.array([], pa.string())), ("label", [])], "no rows"),
    refused(
        "null label, parquet",
        "d.parquet",
        [*TYPED, ("label", ["x", None])],
        "row 2, column 'label': the label is empty",
    ),
    refused(
        "nulls alone",
        "d.parquet",
        [*TYPED, ("label", [None, None])],
        "row 1, column 'label': the label is empty, as in 1 more row",
    ),
    refused("fractions, parquet", "d.parquet", [*TYPED, ("label", [1.0, 2.0])], "row 1, column 'label': got a number"),
    refused("bytes as text", "d.parquet", [("text", [b"a"]), ("label", ["x"])], "got a value of type bytes"),
    refused("no UTF-8, parquet", "d.parquet", lambda path: pq.write_table(no_utf_8(), path), "not a readable parquet"),
    refused("a column twice, parquet", "d.parquet", lambda path: pq.write_table(twice(), path), "'text' twice"),
    seen("integers, parquet", "d.parquet", [*TYPED, ("label", [1, -7])], ("a", "1"), ("b", "-7")),
    seen("truth values, parquet", "d.parquet", [*TYPED, ("label", [True, False])], ("a", "true"), ("b", "false")),
    seen("categories", "d.parquet", [*TYPED, ("label", pa.array(["x", "y"]).dictionary_encode())], *TWO),
    seen(
        "dates where nobody looks",
        "d.parquet",
        [*TYPED, ("label", ["x", "y"]), ("of", pa.array([2**62 + 1] * 2, pa.timestamp("ns")))],
        *TWO,
    ),
]
