"""TF-IDF and logistic regression, as scikit-learn's users write it. Prints the accuracy on validation."""

import json
import sys

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


def read(path):
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [row["text"] for row in rows], [row["label"] for row in rows]


train, validation = (read(path) for path in sys.argv[1:])
model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000)).fit(*train)
print(json.dumps({"accuracy": model.score(*validation)}))
