#!/usr/bin/env python3
"""Made-up support tickets, for trying ftclf: the same seed gives the same rows.

python examples/tickets.py tickets.csv                        one label per row: columns text, label, channel
python examples/tickets.py tickets.jsonl                      several labels per row: a list, which may be empty
python examples/tickets.py tickets.csv --rows 1000 --seed 1
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from pathlib import Path

SENTENCES = {
    "billing": (
        "I was charged {number} euros twice in {month}",
        "the invoice of {month} shows a plan that I never booked",
        "my card was declined although it is valid until {month}",
        "why does the bill say {number} euros instead of the price on your page",
    ),
    "delivery": (
        "the parcel from {month} has not arrived, tracking stands still for {number} days",
        "the courier left my {thing} at a wrong address",
        "half of the order is missing, only the {thing} came",
        "when will order {number} be shipped",
    ),
    "login": (
        "I cannot sign in since {month}, the code never comes",
        "the password reset link says expired after {number} minutes",
        "two factor login asks for a phone that I no longer have",
        "my account is locked after {number} attempts",
    ),
    "outage": (
        "the app shows error {number} on every page",
        "the dashboard has been down for {number} minutes",
        "uploads fail with a timeout since {month}",
        "nothing loads, the status page says all is well",
    ),
    "refund": (
        "please send back the money for the {thing} that I returned in {month}",
        "I cancelled within {number} days and want my payment back",
        "the refund for order {number} is still open",
        "the {thing} is broken, I do not want another one, only a refund",
    ),
    "feature": (
        "could you add an export to a spreadsheet for the {thing} list",
        "a dark mode would be nice, my team of {number} asks for it",
        "please let us sort orders by {month}",
        "is there an interface for programs to read our {thing} data",
    ),
}
GREETINGS = ("Hello,", "Hi team,", "Good morning,", "To whom it may concern,", "")
CLOSINGS = ("Thanks.", "Please help!", "Kind regards", "This is urgent.", "")
MONTHS = ("January", "March", "May", "July", "September", "November")
THINGS = ("headset", "router", "keyboard", "monitor", "charger", "camera")
CHANNELS = ("mail", "chat", "phone")


def sentence(label: str, chooser: random.Random) -> str:
    """Return one sentence about a label."""
    filled = chooser.choice(SENTENCES[label])
    return filled.format(number=chooser.randint(2, 99), month=chooser.choice(MONTHS), thing=chooser.choice(THINGS))


def ticket(labels: list[str], chooser: random.Random) -> str:
    """Return a ticket about some labels; without any it says nothing in particular."""
    parts = [sentence(label, chooser) for label in labels] or [f"just saying hello from {chooser.choice(MONTHS)}"]
    return " ".join(filter(None, [chooser.choice(GREETINGS), " and ".join(parts) + ".", chooser.choice(CLOSINGS)]))


def tickets(count: int, seed: int, *, several: bool) -> list[tuple[str, list[str], str]]:
    """Return texts, labels and channels; all texts differ."""
    chooser, rows = random.Random(seed), dict[str, tuple[list[str], str]]()
    while len(rows) < count:
        number = chooser.choice((0, 1, 1, 2, 2, 3)) if several else 1
        labels = sorted(chooser.sample(list(SENTENCES), number))
        rows.setdefault(ticket(labels, chooser), (labels, chooser.choice(CHANNELS)))
    return [(text, labels, channel) for text, (labels, channel) in rows.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a csv file for one label per row, a jsonl file for several")
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    several = options.file.suffix == ".jsonl"
    rows = tickets(options.rows, options.seed, several=several)
    with options.file.open("w", newline="", encoding="utf-8") as file:
        if several:
            file.writelines(
                json.dumps({"text": text, "label": labels, "channel": channel}) + "\n" for text, labels, channel in rows
            )
        else:
            writer = csv.writer(file)
            writer.writerow(["text", "label", "channel"])
            writer.writerows((text, labels[0], channel) for text, labels, channel in rows)
    print(f"{len(rows)} tickets in {options.file}")


if __name__ == "__main__":
    main()
