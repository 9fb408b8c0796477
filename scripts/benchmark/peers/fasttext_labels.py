"""fastText with the settings at which its own tutorial on text classification arrives. Prints the accuracy."""

import json
import sys
import tempfile

import fasttext


def read(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


train, validation = (read(path) for path in sys.argv[1:])
with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
    for row in train:
        file.write(f"__label__{row['label']} {' '.join(row['text'].split())}\n")
    file.flush()
    model = fasttext.train_supervised(input=file.name, lr=1.0, epoch=25, wordNgrams=2, verbose=0)
labels, _ = model.predict([" ".join(row["text"].split()) for row in validation])
right = [label[0] == f"__label__{row['label']}" for label, row in zip(labels, validation, strict=True)]
print(json.dumps({"accuracy": sum(right) / len(right)}))
