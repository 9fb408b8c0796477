"""Fine-tune small encoders for text classification, fully or with LoRA, from composed configs."""

__version__ = "0.1.0"
