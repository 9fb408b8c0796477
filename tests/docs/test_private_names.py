"""Private names of other libraries are there, with the parameters that they had in the tested releases."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

MODULES = (
    "argparse",
    "atexit",
    "hydra._internal.sources_registry",
    "hydra._internal.utils",
    "omegaconf._utils",
    "omegaconf.basecontainer",
    "os",
    "threading",
    "torch.optim.lr_scheduler",
    "transformers",
)
ROOT = Path(__file__).resolve().parents[2]

# By expression: the signature of a function, the schema of an operator of torch (of a long one the part that is
# passed), else the type. The Trainer has public methods among them: those that ftclf overrides.
EXPECTED = {
    "transformers.Trainer._clip_grad_norm": "(self, model)",
    "transformers.Trainer._determine_best_metric": "(self, metrics, trial)",
    "transformers.Trainer._evaluate": "(self, trial, ignore_keys_for_eval, skip_scheduler=False)",
    "transformers.Trainer._get_grad_norm": "(self, model, grad_norm=None)",
    "transformers.Trainer._get_num_items_in_batch": "(self, batch_samples, device)",
    "transformers.Trainer._get_output_dir": "(self, trial)",
    "transformers.Trainer._init_training_state": (
        "(self, max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial)"
    ),
    "transformers.Trainer._issue_warnings_after_load": "(self, load_result)",
    "transformers.Trainer._load_best_model": "(self)",
    "transformers.Trainer._load_callback_state": "(self)",
    "transformers.Trainer._load_from_checkpoint": "(self, resume_from_checkpoint, model=None)",
    "transformers.Trainer._load_optimizer_and_scheduler": "(self, checkpoint)",
    "transformers.Trainer._load_rng_state": "(self, checkpoint)",
    "transformers.Trainer._maybe_log_save_evaluate": (
        "(self, tr_loss, grad_norm, model, trial, epoch, ignore_keys_for_eval, start_time, learning_rate=None)"
    ),
    "transformers.Trainer._run_epoch": (
        "(self, model, epoch, train_dataloader, steps_in_epoch, num_update_steps_per_epoch, trial, "
        "ignore_keys_for_eval, start_time, resume_from_checkpoint, epochs_trained, steps_trained_in_current_epoch)"
    ),
    "transformers.Trainer._save": "(self, output_dir=None, state_dict=None)",
    "transformers.Trainer._save_checkpoint": "(self, model, trial)",
    "transformers.Trainer._save_optimizer_and_scheduler": "(self, output_dir)",
    "transformers.Trainer.create_optimizer": "(self, model=None)",
    "transformers.Trainer.floating_point_ops": "(self, inputs)",
    "transformers.Trainer.get_train_dataloader": "(self)",
    "transformers.Trainer.log": "(self, logs, start_time=None)",
    "transformers.Trainer.training_step": "(self, model, inputs, num_items_in_batch=None)",
    "stored(transformers.Trainer)['_tr_loss']": "attribute",
    "stored(transformers.Trainer)['_total_loss_scalar']": "attribute",
    "stored(transformers.Trainer)['_globalstep_last_logged']": "attribute",
    "stored(transformers.Trainer)['_initial_global_step']": "attribute",
    "transformers.PreTrainedConfig.__dict__['_attn_implementation']": "property",
    "transformers.PreTrainedModel._supports_sdpa": "bool",
    "stored(transformers.TrainingArguments)['_n_gpu']": "attribute",
    "torch.ops.aten._foreach_copy_.default": "aten::_foreach_copy_(Tensor(a!)[] self, Tensor[] src",
    "torch._foreach_copy_": "builtin_function_or_method",
    "torch.ops.aten._foreach_mul.ScalarList": "aten::_foreach_mul.ScalarList(Tensor[] self, Scalar[] scalars)",
    "torch._foreach_mul": "builtin_function_or_method",
    "torch.ops.aten._foreach_mul_.ScalarList": (
        "aten::_foreach_mul_.ScalarList(Tensor(a!)[] self, Scalar[] scalars) -> ()"
    ),
    "torch._foreach_mul_": "builtin_function_or_method",
    "torch.ops.aten._foreach_lerp_.Scalar": (
        "aten::_foreach_lerp_.Scalar(Tensor(a!)[] self, Tensor[] tensors1, Scalar weight) -> ()"
    ),
    "torch._foreach_lerp_": "builtin_function_or_method",
    "torch.ops.aten._softmax_backward_data.default": (
        "aten::_softmax_backward_data(Tensor grad_output, Tensor output, int dim, ScalarType input_dtype) -> Tensor"
    ),
    "torch._softmax_backward_data": "builtin_function_or_method",
    "torch.ops.aten._flash_attention_forward.default": (
        "aten::_flash_attention_forward(Tensor query, Tensor key, Tensor value, Tensor? cum_seq_q, Tensor? cum_seq_k, "
        "SymInt max_q, SymInt max_k, float dropout_p, bool is_causal, bool return_debug_mask, *, float? scale=None"
    ),
    "torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default": (
        "aten::_scaled_dot_product_flash_attention_for_cpu(Tensor query, Tensor key, Tensor value, float dropout_p=0., "
        "bool is_causal=False, *, Tensor? attn_mask=None, float? scale=None) -> (Tensor output, Tensor logsumexp)"
    ),
    "torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default": (
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward(Tensor grad_out, Tensor query, Tensor key, "
        "Tensor value, Tensor out, Tensor logsumexp, float dropout_p, bool is_causal, *, Tensor? attn_mask=None, "
        "float? scale=None) -> (Tensor grad_query, Tensor grad_key, Tensor grad_value)"
    ),
    "torch.ops.mkldnn._is_mkldnn_bf16_supported.default": "mkldnn::_is_mkldnn_bf16_supported() -> bool",
    "torch.ops.mkldnn._linear_pointwise.default": (
        "mkldnn::_linear_pointwise(Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, str? algorithm)"
    ),
    "torch.ops.mkldnn._reorder_linear_weight.default": (
        "mkldnn::_reorder_linear_weight(Tensor self, int? batch_size=None) -> Tensor"
    ),
    "torch.zeros(1)._version": "int",
    "torch.nn.Module()._parameters": "dict",
    "torch.nn.Module()._modules": "dict",
    "torch.nn.Module()._compiled_call_impl": "NoneType",
    "stored(torch.optim.lr_scheduler)['_opt_called']": "attribute",
    "hydra._internal.utils.get_args_parser": "()",
    "hydra._internal.sources_registry.SourcesRegistry.instance": "(*args, **kwargs)",
    "hydra._internal.sources_registry.SourcesRegistry.instance().types": "dict",
    "omegaconf._utils.get_yaml_loader": "()",
    "omegaconf.basecontainer.BaseContainer._resolvers": "dict",
    "os._exit": "(status)",
    "atexit._run_exitfuncs": "builtin_function_or_method",
    "threading._shutdown": "()",
    "argparse.ArgumentParser()._option_string_actions": "dict",
}


def stored(place: Any) -> dict[str, str]:
    """Return the attributes that the source of a class or module assigns."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(place)))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    return {node.attr: "attribute" for node in nodes}


def installed(expression: str) -> str:
    """Return what the installed library has under a name: a signature, a schema or a type."""
    for module in MODULES:
        importlib.import_module(module)
    libraries = {name: sys.modules[name] for name in (module.partition(".")[0] for module in MODULES)}
    try:
        value = eval(expression, {**libraries, "stored": stored})
    except (AttributeError, KeyError) as error:
        return f"nothing ({error})"
    if isinstance(value, str):
        return value
    if schema := getattr(value, "_schema", None):
        return str(schema)
    try:
        return without_types(inspect.signature(value))
    except (TypeError, ValueError):  # no function, or one of C that names no parameters
        return type(value).__name__


def without_types(signature: inspect.Signature) -> str:
    parameters = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


@pytest.mark.parametrize("expression", EXPECTED)
def test_a_private_name_is_there_with_the_parameters_of_the_tested_release(expression: str) -> None:
    if ".mkldnn." in expression and not torch.backends.mkldnn.is_available():
        pytest.skip("torch without oneDNN, whose operators are then not used")
    expected, found = EXPECTED[expression], installed(expression)
    assert found.startswith(expected), f"{expression}: expected {expected}, got {found}"


def test_the_table_of_the_docs_names_what_is_checked_here() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`(_\w+)`", text.partition("## Private names")[2].partition("\n## ")[0]))
    assert listed == {name for expression in EXPECTED for name in re.findall(r"(?<!\w)_[a-z]\w*", expression)}


def test_every_method_that_overrides_the_trainer_s_is_checked() -> None:
    from transformers import Trainer

    from ftclf.training.stoppable import ResumableTrainer
    from ftclf.training.trainer import ClassifierTrainer

    names = {name for kind in (ResumableTrainer, ClassifierTrainer) for name in vars(kind) if name in dir(Trainer)}
    usual = {"__init__", "__doc__", "__module__", "train", "evaluate"}
    checked = {expression.removeprefix("transformers.Trainer.") for expression in EXPECTED}
    assert {name for name in names - usual if callable(getattr(Trainer, name))} <= checked
