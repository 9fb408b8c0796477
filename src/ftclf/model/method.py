"""Full, head or LoRA: which weights of a classifier are trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from ftclf.config import FullConfig, HeadConfig, LoraConfig, MethodConfig
from ftclf.config.did_you_mean import did_you_mean
from ftclf.model.architectures import ARCHITECTURES
from ftclf.model.network import Classifier, word_embeddings
from ftclf.system.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Parameters:
    """How many weights the network has and how many of them are trained."""

    total: int
    trainable: int

    @property
    def share(self) -> float:
        return self.trainable / self.total


def apply_method(classifier: Classifier, config: MethodConfig) -> nn.Module:
    """Return the network with the chosen weights trainable. Whatever started at random is always among them."""
    network = classifier.network
    match config:
        case FullConfig():
            if config.freeze_embeddings:
                _freeze_embeddings(network)
            return network
        case HeadConfig():
            _freeze_all_but(network, head_modules(classifier))
            return network
        case LoraConfig():
            return _add_adapters(classifier, config)
        case _:
            assert_never(config)  # type: ignore[arg-type]


def _freeze_embeddings(network: Any) -> None:
    embeddings = word_embeddings(network)
    if embeddings is None:
        kind = network.config.model_type
        raise ConfigError(f"method.freeze_embeddings: {kind} names no word embeddings; leave the setting out")
    embeddings.requires_grad_(False)


def head_parameters(classifier: Classifier, config: MethodConfig) -> tuple[list[nn.Parameter], float]:
    """Return the parameters of the head that learn at another rate than the rest, and how many times it is."""
    if not isinstance(config, FullConfig):
        return [], 1.0
    network = classifier.network
    return [p for name in head_modules(classifier) for p in network.get_submodule(name).parameters()], config.head_rate


def count_parameters(network: nn.Module) -> Parameters:
    """Count weights; an adapter's copy of a head it trains counts once, as trainable."""
    counted = [p for name, p in network.named_parameters() if ".original_module." not in name]
    return Parameters(sum(p.numel() for p in counted), sum(p.numel() for p in counted if p.requires_grad))


def head_modules(classifier: Classifier) -> list[str]:
    """Return the paths of the modules that are trained whole: the head, the pooler, and all that starts at random."""
    network: Any = classifier.network
    base = network.base_model_prefix
    head = [name for name, child in network.named_children() if name != base and _has_weights(child)]
    encoder = getattr(network, base, None)
    if getattr(encoder, "pooler", None) is not None:
        head.append(f"{base}.pooler")
    for key in classifier.random_keys:
        owner = key.rpartition(".")[0]
        if not any(owner == name or owner.startswith(f"{name}.") for name in head):
            head.append(owner)
    return head


def target_modules(network: Any, config: LoraConfig, head: list[str]) -> list[str]:
    """Return the full paths of the linear layers that get an adapter.

    Raises ConfigError where the architecture is not known by name or a named module is not there.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    linear = [
        name
        for name, module in network.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and not any(name == h or name.startswith(f"{h}.") for h in head)
    ]
    if not linear:
        raise ConfigError(
            f"method: {network.config.model_type} has no linear layer that an adapter could be added to; "
            "use method=full or method=head"
        )
    if config.target_modules:
        found = [name for name in linear if any(name == t or name.endswith(f".{t}") for t in config.target_modules)]
        for target in config.target_modules:
            if not any(name == target or name.endswith(f".{target}") for name in linear):
                names = sorted({name.rpartition(".")[2] for name in linear})
                raise ConfigError(
                    f"method.target_modules: no linear layer '{target}', allowed: {', '.join(names)}."
                    + did_you_mean(target, names)
                )
        return found
    if config.targets == "all_linear":
        return linear
    kind = network.config.model_type
    if kind not in ARCHITECTURES:
        raise ConfigError(
            f"method.targets: '{config.targets}' is not known for {kind}; "
            "use all_linear or name the layers with 'method.target_modules=[NAME,NAME]'"
        )
    known = ARCHITECTURES[kind]
    chosen = {
        "attention": known.attention,
        "feed_forward": known.feed_forward,
        "attention_feed_forward": known.attention + known.feed_forward,
    }[config.targets]
    return [name for name in linear if any(_matches(name, pattern) for pattern in chosen)]


def _matches(name: str, pattern: str) -> bool:
    """`layer.*.output.dense` is the block's own output, not the attention's: the star stands for one number."""
    parts, wanted = name.split("."), pattern.split(".")
    if len(parts) < len(wanted):
        return False
    return all(w in ("*", p) for p, w in zip(parts[-len(wanted) :], wanted, strict=True))


def _add_adapters(classifier: Classifier, config: LoraConfig) -> nn.Module:
    import peft
    from transformers.pytorch_utils import Conv1D

    head = head_modules(classifier)
    targets = target_modules(classifier.network, config, head)
    init: Any = True if config.init == "default" else config.init
    settings = peft.LoraConfig(
        task_type="SEQ_CLS",
        r=config.r,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # peft only divides it by r
        lora_dropout=config.dropout,
        target_modules=targets,
        fan_in_fan_out=isinstance(classifier.network.get_submodule(targets[0]), Conv1D),  # GPT-2's linear layer
        modules_to_save=head,
        use_rslora=config.rslora,
        use_dora=config.dora,
        init_lora_weights=init,
    )
    return peft.get_peft_model(classifier.network, settings)


def _freeze_all_but(network: Any, trained: list[str]) -> None:
    network.requires_grad_(False)
    for name in trained:
        network.get_submodule(name).requires_grad_(True)


def _has_weights(module: Any) -> bool:
    return any(True for _ in module.parameters())


def merged(network: Any) -> Any:
    """Return the network with its adapters added to its weights, or as it is where it has none."""
    return network.merge_and_unload() if hasattr(network, "merge_and_unload") else network
