"""Splits, places that rows come from, and texts to predict, that are not what they should be."""

from __future__ import annotations

import os

from faults.inputs import HEAD, ROWS, csv_of, refused

PREDICT = ("predict", "checkpoint={checkpoint}")

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
    refused("one file as two splits", "d.csv", ROWS, "holds the same rows as dataset.train", test="d.csv"),
    refused(
        "a link as another split",
        "d.csv",
        ROWS,
        "holds the same rows as dataset.train",
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
    refused(
        "a class that leaves with its texts",
        "d.csv",
        HEAD + "a,x\ne,x\nc,y\nf,y\n" + 2 * "a,z\nc,z\n",  # all of z may be cut off, under x and y
        "no row of z in train",
        validation="v.csv",
        test_size=0.5,
        split_seed=7,
        **{"v.csv": HEAD + "g,x\n"},
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

PACKAGE = ("train", "dataset=bbc_news", "run_dir={folder}/run")
BARE = ("train", "dataset=files", "run_dir={folder}/run")

SOURCES = [
    refused(
        "no package", "d.csv", ROWS, "nothing_of_it is not installed", words=(*PACKAGE, "dataset.package=nothing_of_it")
    ),
    refused(
        "no folder in a package",
        "d.csv",
        ROWS,
        "no folder 'of_it'",
        words=(*PACKAGE, "dataset.package=json", "dataset.package_folder=of_it"),
    ),
    refused(
        "a package without texts",
        "d.csv",
        ROWS,
        "no text files in it, allowed: a folder per label",
        words=(*PACKAGE, "dataset.package=json", "dataset.package_folder=null"),
    ),
    refused(
        "slices of a package",
        "d.csv",
        ROWS,
        "is a package of texts and has no columns",
        words=(*PACKAGE, "dataset.slice_columns=[of]"),
    ),
    refused("nowhere", "d.csv", ROWS, "names no folder, package or hub id", words=(*BARE, "dataset.source=auto")),
    refused("no hub id", "d.csv", ROWS, "names no hub id", words=(*BARE, "dataset.source=hub")),
    refused(
        "no hub", "d.csv", ROWS, "cannot be reached", words=(*BARE, "dataset.source=hub", "dataset.hub=some/thing")
    ),
    refused(
        "local copies without a name", "d.csv", ROWS, "local needs FTCLF_DATA=", words=(*BARE, "dataset.source=local")
    ),
    refused(
        "eval: no such split",
        "d.csv",
        ROWS,
        "dataset.train: not given",
        words=("eval", "checkpoint={checkpoint}", "split=validation", "dataset=files", "dataset.test={folder}/d.csv"),
    ),
    refused(
        "eval: other labels",
        "d.csv",
        ROWS,
        "has labels that the checkpoint does not know (x, y)",
        words=("eval", "checkpoint={checkpoint}", "split=train", "dataset=files", "dataset.train={folder}/d.csv"),
    ),
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
