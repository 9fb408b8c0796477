"""SetFit as in its paper (Tunstall et al. 2022): a few rows a label, 20 pairs a row, one epoch. Prints the accuracy."""

import json
import sys

from datasets import load_dataset
from setfit import SetFitModel, Trainer, TrainingArguments

folder, train, validation, output = sys.argv[1:]
data = load_dataset("json", data_files={"train": train, "validation": validation})
model = SetFitModel.from_pretrained(folder)
arguments = TrainingArguments(output_dir=output, batch_size=16, num_epochs=1, num_iterations=20)
trainer = Trainer(
    model=model, args=arguments, train_dataset=data["train"], eval_dataset=data["validation"], metric="accuracy"
)
trainer.train()
print(json.dumps({"accuracy": trainer.evaluate()["accuracy"]}))
