"""Labels, splits, and texts to predict, that are not what they should be."""

from __future__ import annotations

import os

from faults.inputs import HEAD, MULTI, ROWS, TRAIN, TWO, csv_of, objects, refused, seen

PREDICT = ("predict", "checkpoint={checkpoint}")

LABELS = [
    seen(
        "labels stay text",
        "d.csv",
        HEAD + "".join(f"a,{one}\n" for one in ("NA", "01", "1", "1.0", "True", "nan", "null", "1e3")),
        *(("a", one) for one in ("NA", "01", "1", "1.0", "True", "nan", "null", "1e3")),
    ),
    seen(
        "labels of json",
        "d.jsonl",
        objects('{"text": "a", "label": 1}', '{"text": "b", "label": true}'),
        ("a", "1"),
        ("b", "true"),
    ),
    seen("space around a label", "d.csv", HEAD + "a, x \nb,\ty\n", *TWO),
    refused("an empty label", "d.csv", HEAD + "a,x\nb,\n", "row 3, column 'label': the label is empty"),
    refused("a label of spaces", "d.csv", HEAD + "a,x\nb,\u00a0\u2003\n", "row 3, column 'label': the label is empty"),
    refused("an empty text", "d.csv", HEAD + "a,x\n,y\n", "row 3, column 'text': the text is empty"),
    refused("a text of spaces", "d.csv", HEAD + "a,x\n \u3000\t,y\n", "row 3, column 'text': the text is empty"),
    refused("one class", "d.csv", csv_of("x"), "column 'label' holds one class only ('x')"),
    refused("a label a row", "d.csv", csv_of(*map(str, range(20))), "gives test no rows to hold every class"),
    refused(
        "endless labels",
        "d.csv",
        csv_of("x" * 10**6, "y" * 10**6),
        "label 'zzz",
        "…",
        test="t.csv",
        **{"t.csv": csv_of("z" * 10**6)},
    ),
    refused(
        "digits that are no numbers", "d.csv", csv_of("--5", "-"), "label 'z'", test="t.csv", **{"t.csv": csv_of("z")}
    ),
    refused(
        "five thousand digits", "d.csv", csv_of("5" * 5000, "6"), "label 'z'", test="t.csv", **{"t.csv": csv_of("z")}
    ),
    refused(
        "labels of control characters",
        "d.csv",
        csv_of('"x\n\x1b[2J"', "y"),
        "x\\n\\x1b[2J",
        test="t.csv",
        **{"t.csv": csv_of("z")},
    ),
    seen(
        "several labels in a cell",
        "d.csv",
        HEAD + "a,x/y/ x\nb,y\n",
        ("a", "x", "y"),
        ("b", "y"),
        label_delimiter="/",
        **MULTI,
    ),
    refused(
        "nothing between separators",
        "d.csv",
        HEAD + "a,x//y\n",
        "row 2, column 'label': the label is empty",
        label_delimiter="/",
        **MULTI,
    ),
    refused(
        "a separator at the end",
        "d.csv",
        HEAD + "a,x/\n",
        "row 2, column 'label': the label is empty",
        label_delimiter="/",
        **MULTI,
    ),
    refused(
        "an empty list for one label",
        "d.jsonl",
        '{"text": "a", "label": []}',
        "row 1, column 'label': the label is empty",
    ),
    seen("an empty list among several", "d.jsonl", '{"text": "a", "label": []}', ("a",), **MULTI),
    refused("null among several", "d.jsonl", '{"text": "a", "label": ["x", null]}', "got nothing (null)", **MULTI),
    seen("a label twice in a row", "d.jsonl", '{"text": "a", "label": ["x", " x", "y"]}', ("a", "x", "y"), **MULTI),
    refused(
        "columns of a label that hold words",
        "d.csv",
        "text,x,y\na,1,0\nb,yes,0\n",
        "row 3, column 'x': got 'yes', allowed: 0 or 1",
        label_columns="[x,y]",
        **MULTI,
    ),
    refused(
        "columns of a label, empty",
        "d.csv",
        "text,x,y\na,1,\n",
        "row 2, column 'y': got '', allowed: 0 or 1",
        label_columns="[x,y]",
        **MULTI,
    ),
    refused(
        "columns of a label, null",
        "d.jsonl",
        '{"text": "a", "x": 1, "y": null}',
        "column 'y': got nothing (null), allowed: 0 or 1",
        label_columns="[x,y]",
        **MULTI,
    ),
    seen(
        "columns of a label",
        "d.csv",
        "text,x,y\na,1,0\nb,TRUE,true\nc,0,false\n",
        ("a", "x"),
        ("b", "x", "y"),
        ("c",),
        label_columns=["x", "y"],
        **MULTI,
    ),
    refused(
        "no label at all",
        "d.jsonl",
        objects(*(f'{{"text": "{i}", "label": []}}' for i in range(20))),
        "holds no label at all",
        **MULTI,
    ),
    refused(
        "every row has several",
        "d.csv",
        csv_of("x/y"),
        "every row has several labels",
        label_delimiter="/",
        protocol="only",
    ),
    refused("no such label file", "d.csv", csv_of("0", "1"), "names.txt: no such file", label_file="names.txt"),
    refused(
        "an empty label file",
        "d.csv",
        csv_of("0", "1"),
        "names.txt: the file is empty",
        label_file="names.txt",
        **{"names.txt": ""},
    ),
    refused(
        "a name twice",
        "d.csv",
        csv_of("0", "1"),
        "label 'x' stands in it twice",
        label_file="names.txt",
        **{"names.txt": "x\nx\n"},
    ),
    refused(
        "an id without a name",
        "d.csv",
        csv_of("0", "2"),
        "label '2' is not among the 2 labels",
        label_file="names.txt",
        **{"names.txt": "x\ny\n"},
    ),
    refused(
        "a name without rows",
        "d.csv",
        csv_of("0", "1"),
        "no row of z in train",
        label_file="names.txt",
        **{"names.txt": "x\ny\nz\n"},
    ),
    refused(
        "names that are ids of others",
        "d.csv",
        csv_of("1", "2"),
        "the name '1' is also the id of '2'",
        label_file="names.txt",
        **{"names.txt": "1\n2\n"},
    ),
    refused(
        "a group of nothing",
        "d.csv",
        ROWS,
        "dataset.label_groups: no label 'w'",
        words=(*TRAIN, "+dataset.label_groups.z=[w]"),
    ),
]

SPLITS = [
    refused("no such validation file", "d.csv", ROWS, "valid.csv: no such file", validation="valid.csv"),
    refused(
        "no training file",
        "d.csv",
        ROWS,
        "dataset.train: not given",
        words=("train", "dataset=files", "dataset.test={folder}/d.csv", "run_dir={folder}/run"),
    ),
    refused("an empty test file", "d.csv", ROWS, "t.csv: no rows", test="t.csv", **{"t.csv": HEAD}),
    refused("one file as two splits", "d.csv", ROWS, "is the same file as dataset.train", test="d.csv"),
    refused(
        "a link as another split",
        "d.csv",
        ROWS,
        "is the same file as dataset.train",
        test="t.csv",
        **{"t.csv": lambda path: path.symlink_to("d.csv")},
    ),
    refused(
        "a label in validation alone",
        "d.csv",
        ROWS,
        "v.csv: row 2: label 'z' is not among the 2 labels",
        validation="v.csv",
        **{"v.csv": csv_of("z")},
    ),
    refused(
        "a label in another case",
        "d.csv",
        csv_of("joy", "anger"),
        "label 'Joy' is not",
        "Did you mean 'joy'?",
        test="t.csv",
        **{"t.csv": csv_of("Joy")},
    ),
    refused(
        "a label in other code points",
        "d.csv",
        csv_of("caf\u00e9", "y"),
        "label 'cafe\u0301' is not",
        test="t.csv",
        **{"t.csv": csv_of("cafe\u0301")},
    ),
    refused(
        "other columns in test",
        "d.csv",
        ROWS,
        "no column 'text' in t.csv",
        test="t.csv",
        **{"t.csv": "body,label\na,x\n"},
    ),
    refused("two rows", "d.csv", HEAD + "a,x\nb,y\n", "gives test no rows to hold every class"),
    refused("one text", "d.csv", HEAD + "a,x\nA ,y\n" * 10, "gives test no rows to hold every class"),
    refused(
        "shares that leave nothing", "d.csv", ROWS, "leave too little to train on", test_size=0.5, validation_size=0.45
    ),
    refused("a share too large", "d.csv", ROWS, "dataset.test_size: got 0.6, allowed", test_size=0.6),
    refused("a share of nothing", "d.csv", ROWS, "dataset.validation_size: got 0.0, allowed", validation_size=0.0),
    refused("a share that is no number", "d.csv", ROWS, "dataset.test_size", test_size="nan"),
]

SCORED = [
    refused(
        "predict: no such file",
        "in.txt",
        "a\n",
        "no such file",
        words=(*PREDICT, "input={folder}/im.txt"),
    ),
    *(
        refused(
            f"predict: {name}",
            "in.txt",
            content,
            says,
            words=(*PREDICT, "input={folder}/in.txt"),
        )
        for name, content, says in (
            ("latin-1", b"a\ncaf\xe9\n", "line 2 is not utf-8"),
            ("utf-16", "a\nb\n".encode("utf-16"), "line 1 is not utf-8"),
            ("utf-16 without a mark", "a\nb\n".encode("utf-16-le"), "line 1 holds a NUL character"),
            ("carriage returns", "a\rb\rc", "line 1 holds a carriage return"),
            ("an empty line", "a\n\u2003\nb\n", "line 2 is empty"),
            ("a folder", lambda path: path.mkdir(), "a folder, allowed: a file"),
            ("a pipe", lambda path: os.mkfifo(path), "a pipe or a device"),
        )
    ),
    refused(
        "predict: json",
        "in.json",
        '[{"text": 1}]',
        "row 1, column 'text': got a number",
        words=(*PREDICT, "input={folder}/in.json"),
    ),
    refused(
        "eval: no column",
        "in.csv",
        "text,stars\na,x\n",
        "no column 'label'",
        words=("eval", "checkpoint={checkpoint}", "dataset=files", "dataset.test={folder}/in.csv"),
    ),
]
