"""A fine-tuning script as the users of transformers write it, after their example run_classification.py.

Its own default pads every text to 128 tokens. The other common forms are the options.
"""

import argparse

import numpy as np
from datasets import load_dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--labels", type=int, required=True)
parser.add_argument("--train", required=True)
parser.add_argument("--test", help="predict these rows when training is done")
parser.add_argument("--output", required=True, help="folder")
parser.add_argument("--padding", choices=("max_length", "dynamic"), default="max_length")
parser.add_argument("--group-by-length", action="store_true")
parser.add_argument("--bf16", action="store_true")
parser.add_argument("--epochs", type=float, default=3)
parser.add_argument("--max-steps", type=int, default=-1)
parser.add_argument("--seed", type=int, default=42)
parser.add_argument("--cpu", action="store_true")
options = parser.parse_args()

set_seed(options.seed)
tokenizer = AutoTokenizer.from_pretrained(options.model)
model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=options.labels)


def encode(rows):
    padding = "max_length" if options.padding == "max_length" else False
    return tokenizer(rows["text"], padding=padding, max_length=128, truncation=True)


files = {"train": options.train, **({"test": options.test} if options.test else {})}
data = load_dataset("json", data_files=files).map(encode, batched=True)
collator = default_data_collator if options.padding == "max_length" else DataCollatorWithPadding(tokenizer)

arguments = TrainingArguments(
    output_dir=options.output,
    num_train_epochs=options.epochs,
    max_steps=options.max_steps,
    per_device_train_batch_size=32,
    learning_rate=5e-5,
    train_sampling_strategy="group_by_length" if options.group_by_length else "random",
    bf16=options.bf16,
    use_cpu=options.cpu,
    seed=options.seed,
)
trainer = Trainer(
    model=model, args=arguments, train_dataset=data["train"], processing_class=tokenizer, data_collator=collator
)
trainer.train()

if options.test:
    # Grouping by length puts predictions out of order, too: they are made by a Trainer without it.
    plain = TrainingArguments(
        output_dir=options.output, per_device_eval_batch_size=32, bf16=options.bf16, use_cpu=options.cpu
    )
    predicted = Trainer(model=model, args=plain, data_collator=collator).predict(data["test"])
    np.savez(f"{options.output}/test.npz", logits=predicted.predictions, labels=predicted.label_ids)
