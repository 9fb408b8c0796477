"""Make a model folder of DistilBERT's size with random weights and MiniLM's tokenizer, which is of the same words.

python -m benchmark.distilbert TOKENIZER_FOLDER TARGET_FOLDER
"""

import sys

from transformers import AutoTokenizer, DistilBertConfig, DistilBertModel

source, target = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(source)
tokenizer.save_pretrained(target)
DistilBertModel(DistilBertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)).save_pretrained(
    target
)
