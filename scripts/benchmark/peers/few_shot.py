"""SetFit as in its paper (Tunstall et al. 2022): a few rows a label, 20 pairs a row, one epoch. Prints the accuracy."""

import json
import sys

from datasets import load_dataset
from setfit import SetFitModel, Trainer, TrainingArguments
from sklearn.metrics import accuracy_score

folder, train, validation, output = sys.argv[1:]
data = load_dataset("json", data_files={"train": train, "validation": validation})
model = SetFitModel.from_pretrained(folder)
arguments = TrainingArguments(output_dir=output, batch_size=16, num_epochs=1, num_iterations=20)
Trainer(model=model, args=arguments, train_dataset=data["train"]).train()
predicted = model.predict(data["validation"]["text"], use_labels=False)
# Its own evaluation would fetch the metric from the hub.
print(json.dumps({"accuracy": accuracy_score(data["validation"]["label"], predicted)}))
