"""Tokens of a vocabulary that are whole words."""

from __future__ import annotations

from typing import Any

STARTS = ("Ġ", "▁")  # how byte-level BPE and SentencePiece mark the start of a word
GOES_ON = "##"  # how WordPiece marks that a word goes on


def whole_words(tokenizer: Any) -> dict[int, str]:
    """Return id and word of every token that is a word by itself, of letters alone."""
    special = set(tokenizer.all_special_ids)
    tokens = {number: token for token, number in tokenizer.get_vocab().items() if number not in special}
    marked = sum(token.startswith(STARTS) for token in tokens.values()) > len(tokens) // 10
    if marked:
        tokens = {number: token[1:] for number, token in tokens.items() if token.startswith(STARTS)}
    else:
        tokens = {number: token for number, token in tokens.items() if not token.startswith(GOES_ON)}
    return {number: token for number, token in sorted(tokens.items()) if token.isalpha()}
