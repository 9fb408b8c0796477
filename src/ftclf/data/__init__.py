"""Rows with label names, in three splits: read, check, name the labels, cut the splits that are missing."""

from ftclf.data.dataset import Data, Split
from ftclf.data.layout import fitted_layout
from ftclf.data.load import load_data, load_split, load_texts
from ftclf.data.split import share_known, sketch

__all__ = ["Data", "Split", "fitted_layout", "load_data", "load_split", "load_texts", "share_known", "sketch"]
