"""Signs of a wrong encoding in a text: UTF-8 that was decoded as Windows-1252 or Latin-1, replacement characters."""

from __future__ import annotations

import re

# Windows-1252 of the bytes 80 to 9f, without the quotes, dashes and the ellipsis that may follow a word.
SIGNS = "€‚ƒ„†‡ˆ‰Š‹ŒŽ•˜™š›œžŸ"
MARKS = "‘’“”–—…"
REST = "\u00a0-\u00bf"  # bytes a0 to bf, the same in both encodings
BYTES = f"{SIGNS}{REST}\x80-\x9f"
# What UTF-8 becomes when it is decoded as the encodings of Western Europe: a lead byte with its continuation bytes. A
# capital with a quote behind it, as in `SPASS“` with ß, is no sign: marks count inside a word alone.
MOJIBAKE = re.compile(
    f"[ÂÃ](?:[{BYTES}]|[{MARKS}](?=\\w))"  # Ã© for é, Â£ for £
    f"|â(?:[€‚„†ˆœž\x80-\x9f][{BYTES}{MARKS}\"']?)"  # â€™ for a curly quote, â‚¬ for €
    "|ï»¿"  # a byte order mark
    f"|ðŸ[{BYTES}{MARKS}]|ð\x9f"  # emoji
    f"|(?:[ÄÅÎÏÐÑØÙ][{BYTES}{MARKS}]){{2}}"  # Greek, Cyrillic, Arabic: two characters or more
)
REPLACEMENT = "\ufffd"
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]")


def mojibake(text: str) -> str:
    """Return the first characters that a wrong encoding left, or nothing."""
    if text.isascii() or (match := MOJIBAKE.search(text)) is None:
        return ""
    return match[0]
