"""Predictions as the users of transformers make them: a pipeline, 32 texts a batch."""

import csv
import sys

from transformers import pipeline

checkpoint, source, target, device = sys.argv[1:]
with open(source, encoding="utf-8") as file:
    texts = [row["text"] for row in csv.DictReader(file)]
classify = pipeline("text-classification", model=checkpoint, device=device, batch_size=32, truncation=True)
with open(target, "w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["text", "label", "score"])
    for text, found in zip(texts, classify(texts), strict=True):
        writer.writerow([text, found["label"], found["score"]])
