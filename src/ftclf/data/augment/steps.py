"""The table of augmentations: which function makes new rows for a `kind`."""

from __future__ import annotations

from ftclf.data.augment.draft import Step
from ftclf.data.augment.edits import edited
from ftclf.data.augment.sentences import of_sentences
from ftclf.data.augment.synonyms import with_expected_words, with_synonyms

STEPS: dict[str, Step] = {
    "edits": edited,
    "synonyms": with_synonyms,
    "contextual": with_expected_words,
    "sentences": of_sentences,
}
