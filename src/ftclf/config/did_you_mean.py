"""Names, values and commands of other tools, and ftclf's words for them: what people type from habit.

A name of ftclf's own may be shortened (`cli/typed_words.py`); a name of another tool is answered by what to type,
since it may mean something else there.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable

# What other tools call a setting: ftclf's name for it. {} stands for the value where more than a name differs.
TRAIN_NAMES = {
    "training.epochs": "epoch num_epochs n_epochs num_train_epochs max_epochs nb_epochs",
    "training.max_steps": "steps num_steps max_train_steps iterations",
    "training.learning_rate": "lr learning",
    "training.batch_size": "batch bs batchsize train_batch_size per_device_train_batch_size",
    "training.eval_batch_size": "per_device_eval_batch_size test_batch_size",
    "training.accumulation": "gradient_accumulation_steps gradient_accumulation grad_accum accumulation_steps",
    "training.optimizer": "optim optimiser",
    "training.schedule": "lr_scheduler_type lr_scheduler scheduler lr_schedule",
    "training.warmup": "warmup_ratio warmup_proportion",
    "training.weight_decay": "wd decay l2",
    "training.max_grad_norm": "grad_clip gradient_clip gradient_clip_val clip max_norm",
    "loss={}": "loss_function criterion loss_type",
    "loss.gamma": "focal_gamma",
    "augment={}": "augmentation data_augmentation augmenter augmentations",
    "training.seed": "random_seed random_state rng_seed",
    "training.seeds": "n_seeds num_seeds repeats",
    "training.precision": "dtype torch_dtype mixed_precision amp",
    "training.device": "accelerator",
    "training.threads": "num_threads n_threads n_jobs cores cpus",
    "training.metric": "metric_for_best_model best_metric monitor",
    "training.eval_steps": "eval_every save_steps eval_interval",
    "training.average": "ema ema_decay swa",
    "training.early_stopping": "early_stopping_patience patience early_stop",
    "training.compile": "torch_compile",
    "training.log_steps": "logging_steps log_every",
    "training.trackers=[{}]": "report_to logger tracker",
    "method={}": "peft_type peft_method finetuning_type tuning",
    "method.r": "lora_r rank lora_rank lora_dim",
    "method.alpha": "lora_alpha lora_scale",
    "method.dropout": "lora_dropout adapter_dropout",
    "method.target_modules=[{}]": "lora_target_modules lora_targets",
    "model.name": "model_name_or_path model_name base_model pretrained_model pretrained backbone encoder checkpoint",
    "model.dropout": "hidden_dropout hidden_dropout_prob classifier_dropout",
    "model.attention_dropout": "attention_probs_dropout_prob attn_dropout",
    "model.attention": "attn_implementation attn",
    "dataset=files dataset.train={}": "data data_path data_file data_dir file csv input path dataset_path train_data "
    "train_file train_csv train_path training_file train_dataset",
    "dataset.validation": "validation_file val_file dev_file eval_file valid_file val dev validation_data",
    "dataset.test": "test_file test_csv test_path test_data",
    "dataset.text_column": "text_col text_field text_key text_name text_column_name input_column feature_column",
    "dataset.label_column": "label_col label_field label_key label_name target target_column label_column_name class",
    "dataset.label_delimiter": "label_separator label_sep labels_delimiter",
    "dataset.separator": "sep delimiter field_separator",
    "dataset.max_length": "max_seq_length max_len max_seq_len seq_len seq_length max_tokens model_max_length",
    "dataset.validation_size": "val_size eval_size validation_split val_split validation_ratio dev_size",
    "dataset.test_size": "test_split test_ratio holdout",
    "dataset.task={}": "problem_type task_type task_name",
    "run_dir": "output_dir output out out_dir save_dir output_path output_folder logdir log_dir",
    "name": "run_name experiment_name exp_name",
    "overwrite": "overwrite_output_dir force",
    "jobs": "num_jobs max_jobs parallel parallel_jobs n_parallel concurrency",
    "resume": "resume_from_checkpoint resume_from ckpt",
}
EVAL_NAMES = {
    "checkpoint": "model model_path model_name_or_path run run_dir ckpt checkpoint_path path",
    "dataset=files dataset.test={}": "data file input csv test_file test_data data_path dataset_path input_file",
    "dataset.text_column": "text_col text_field",
    "dataset.label_column": "label_col label_field target target_column",
    "output": "output_dir out out_dir save_dir output_path",
    "batch_size": "bs batch eval_batch_size per_device_eval_batch_size",
    "split": "subset part",
}
PREDICT_NAMES = {
    "checkpoint": "model model_path model_name_or_path run run_dir ckpt checkpoint_path path",
    "input": "data file csv input_file input_path test_file data_path dataset.train dataset.test",
    "output": "out output_file output_dir output_path out_file save_to",
    "texts=[{}]": "text sentence sentences inputs",
    "text_column": "text_col text_field text_key text_column_name column",
    "batch_size": "bs batch eval_batch_size per_device_eval_batch_size",
    "separator": "sep delimiter",
    "keep=[{}]": "id_column id keep_columns",
    "overwrite": "force",
    "compile": "torch_compile",
}
# What a switch of another tool comes to, by its value.
SWITCHES = {
    "fp16": ("training.precision=fp16", "training.precision=fp32"),
    "half": ("training.precision=fp16", "training.precision=fp32"),
    "bf16": ("training.precision=bf16", "training.precision=fp32"),
    "use_cpu": ("training.device=cpu", "training.device=auto"),
    "no_cuda": ("training.device=cpu", "training.device=auto"),
    "cpu": ("training.device=cpu", "training.device=auto"),
    "cuda": ("training.device=cuda", "training.device=cpu"),
    "use_gpu": ("training.device=cuda", "training.device=cpu"),
    "use_lora": ("method=lora", "method=full"),
    "use_peft": ("method=lora", "method=full"),
    "lora": ("method=lora", "method=full"),
    "peft": ("method=lora", "method=full"),
    "freeze": ("method=head", "method=full"),
    "freeze_encoder": ("method=head", "method=full"),
    "freeze_base": ("method=head", "method=full"),
    "linear_probe": ("method=head", "method=full"),
    "multi_label": ("dataset.task=multi_label", "dataset.task=single_label"),
    "multilabel": ("dataset.task=multi_label", "dataset.task=single_label"),
    "use_ema": ("training.average=0.999", "training.average=0"),
    "header": ("dataset.columns=[]", "dataset.columns=[text,label]"),
    "no_header": ("dataset.columns=[text,label]", "dataset.columns=[]"),
}
# What ftclf does not have, and what there is instead.
BALANCE = "rare labels weigh more with loss=weighted, and are seen more often with sampler=balanced"
SMOOTHING = "write loss=label_smoothing loss.smoothing=0.1"
COUNTED = "labels are counted in the training rows; leave it out"
ONE_GPU = "training.device=cuda takes one GPU; CUDA_VISIBLE_DEVICES=0 in front of the command chooses which"
SCORED = "validation and test are scored in every run; leave it out"
THRESHOLDS = "thresholds are chosen on validation, see decision.rule; one label: decision.min_precision=0.9 abstains"
TRAIN_ABSENT = {
    "class_weights class_weight weighted_loss pos_weight balanced oversample oversampling": BALANCE,
    "label_smoothing label_smoothing_factor training.label_smoothing": SMOOTHING,
    "num_labels num_classes n_classes n_labels labels classes label_names": COUNTED,
    "num_workers dataloader_num_workers workers": "batches are made beside the training already; leave it out",
    "gpu gpus n_gpu num_gpus gpu_id gpu_ids devices nproc_per_node": ONE_GPU,
    "do_train do_eval do_predict do_test eval_on_test": SCORED,
    "threshold thresholds": THRESHOLDS,
    "warmup_steps num_warmup_steps": "warm-up is a share of all steps: training.warmup=0.06",
    "eval_strategy evaluation_strategy save_strategy": "once per epoch, or every training.eval_steps=100 steps",
    "load_in_8bit load_in_4bit quantization quantize qlora": "weights are not quantised; training.precision=bf16 is "
    "the smallest type",
    "push_to_hub hub_model_id hub_token": "nothing is uploaded; leave it out",
    "folds k_folds n_folds kfold cv cross_validation": "no folds are made; training.seeds=5 trains five times",
    "do_lower_case lowercase uncased cased": "the model's own tokenizer decides on case; choose it by model.name",
    "together": "sweeps run jobs side by side by default; jobs=1 trains one after the other",
    "verbose quiet silent log_level debug": "leave it out; log.txt in the run's folder has every line",
    "stratify shuffle stratified": "splits are stratified and rows shuffled always; leave it out",
    "padding truncation pad_to_max_length": "texts are cut at dataset.max_length=128 tokens and never padded to it",
}
SHOWN = "probabilities are part of every prediction; leave it out"
DEVICE = "the GPU is taken where there is one; CUDA_VISIBLE_DEVICES= in front of the command hides it"
PREDICT_ABSENT = {
    "threshold thresholds top_k": "labels are decided as the checkpoint says, see decide= and decision.rule",
    "device gpu cuda cpu use_cpu no_cuda": DEVICE,
    "probabilities proba return_probabilities return_all_scores scores logits": SHOWN,
    "format output_format": "the ending of output= says the format: .csv, .jsonl or .parquet",
    "max_length max_seq_length": "texts are cut as in training; leave it out",
}
EVAL_ABSENT = {
    "threshold thresholds top_k": "labels are decided as the checkpoint says, see decide=",
    "device gpu cuda cpu use_cpu no_cuda": DEVICE,
    "metric metrics": "all metrics are printed; output=FOLDER keeps them",
}


def _each(table: dict[str, str]) -> dict[str, str]:
    return {name: about for names, about in table.items() for name in names.split()}


def _turned(table: dict[str, str]) -> dict[str, str]:
    return {name: word for word, names in table.items() for name in names.split()}


NAMES = {"train": _turned(TRAIN_NAMES), "eval": _turned(EVAL_NAMES), "predict": _turned(PREDICT_NAMES)}
NAMES["check"] = {name: word for name, word in NAMES["train"].items() if word.startswith(("dataset", "model."))}
ABSENT = {"train": _each(TRAIN_ABSENT), "eval": _each(EVAL_ABSENT), "predict": _each(PREDICT_ABSENT), "check": {}}

# What other tools call a value of a setting, without case and with _ for - and spaces.
VALUES = {
    "method": {
        "full": "full_finetuning finetune finetuning fine_tune fine_tuning all none ft",
        "lora": "peft adapter adapters qlora adalora lora_adapter",
        "head": "linear_probe linear frozen freeze classifier feature_extraction probe",
    },
    "training.device": {"cuda": "gpu nvidia cuda_0", "mps": "metal apple", "cpu": "none"},
    "training.precision": {
        "fp16": "float16 half 16 fp_16 16_mixed true amp",
        "bf16": "bfloat16 bf16_mixed bfloat",
        "fp32": "float32 32 full single false",
    },
    "training.optimizer": {
        "adamw_torch_fused": "adamw adam adamw_fused adamw_hf adamw_torch_8bit",
        "rmsprop": "rms_prop",
    },
    "training.schedule": {
        "linear": "linear_with_warmup linear_decay",
        "cosine": "cosine_annealing cosine_with_warmup",
        "constant": "none fixed",
    },
    "training.metric": {
        "macro_f1": "f1 f1_macro eval_f1",
        "micro_f1": "f1_micro",
        "weighted_f1": "f1_weighted",
        "log_loss": "loss eval_loss val_loss cross_entropy nll",
        "accuracy": "acc eval_accuracy val_accuracy",
    },
    "dataset.task": {
        "multi_label": "multilabel multi_label_classification multi",
        "single_label": "single multiclass multi_class binary classification single_label_classification",
    },
    "split": {"validation": "val valid dev eval", "test": "testing", "train": "training"},
}
SYNONYMS = {setting: _turned(table) for setting, table in VALUES.items()}

# What other tools call a command; {} stands for the rest of the line.
COMMANDS = {
    "train {}": "fit finetune fine-tune fine_tune run start learn training",
    "eval {}": "evaluate test score evaluation val metrics",
    "predict {}": "infer inference classify label predictions annotate tag apply pipeline",
    "check {}": "validate inspect analyze analyse eda profile lint audit explore dedup deduplicate",
    "compare {}": "diff leaderboard rank table results benchmark",
    "report {}": "html plot plots show view summary dashboard",
    "ls {}": "list models datasets catalog available zoo",
    "train resume={}": "resume continue restart",
    "train --cfg job {}": "config settings params print-config show-config",
    "train --help": "info options usage man",
    "train -m method.r=4,8,16": "sweep hpo grid search tune multirun optimize",
    "train FILE.csv": "init new create setup quickstart prepare preprocess tokenize",
}
NO_SERVER = (
    "ftclf merge RUN output=FOLDER writes a folder that servers of transformers' models open, as is the checkpoint/ "
    "of a full run"
)
ABSENT_COMMANDS = {
    "serve server deploy api app gradio export convert onnx save save-model publish": NO_SERVER,
    "push upload login": "ftclf uploads nothing",
    "download pull get": "models and data are fetched when ftclf train needs them; ftclf ls lists them",
    "split": "ftclf train cuts a missing test or validation split itself, see dataset.test_size",
    "clean clear cache rm": "runs are folders below runs/, to be deleted as such; so is ~/.cache/ftclf",
}
OTHER_COMMANDS, OTHER_ABSENT_COMMANDS = _turned(COMMANDS), _each(ABSENT_COMMANDS)


def instead(command: str, name: str, value: str) -> str | None:
    """Return what to type instead of another tool's setting, or what there is instead, as the end of an error."""
    last = name.rpartition(".")[2].lower().replace("-", "_")
    if command == "train" and last in SWITCHES:
        return f"write {pasteable(SWITCHES[last][value.lower() in ('false', '0', 'no', 'off')])}"
    if (setting := NAMES[command].get(name, NAMES[command].get(last))) is not None:
        template = setting if "{}" in setting else f"{setting}={{}}"
        *before, word = template.split(" ")
        key = word.split("=")[0]
        value = synonym(key, value) or value
        return f"write {' '.join([*before, pasteable(word.replace('{}', value or 'VALUE'))])}"
    return ABSENT[command].get(last)


def synonym(setting: str, value: str) -> str | None:
    """Return ftclf's word for a value that other tools call otherwise, as cuda for gpu."""
    plain = re.sub(r"\W+", "_", value.strip().lower())
    return SYNONYMS.get(setting, {}).get(plain)


def value_instead(setting: str, value: str) -> str | None:
    """Return what to type instead of a value that other tools know, as the end of an error."""
    if setting == "training.device" and (number := re.fullmatch(r"(?:cuda|gpu):(\d+)", value)):
        return f"write training.device=cuda; CUDA_VISIBLE_DEVICES={number[1]} in front of ftclf chooses the GPU"
    known = synonym(setting, value)
    return None if known is None else f"write {setting}={known}"


def command_instead(word: str, rest: list[str]) -> str | None:
    """Return what to type instead of a command that ftclf does not have, as the end of an error."""
    plain = word.lower()
    if (template := OTHER_COMMANDS.get(plain)) is not None:
        given = " ".join(pasteable(one) for one in rest)
        return f"write ftclf {template.replace('{}', given or ('RUN' if '={}' in template else '')).strip()}"
    return OTHER_ABSENT_COMMANDS.get(plain)


def pasteable(word: str) -> str:
    """Return a word as bash and zsh take it: in quotes where it holds anything that they would change."""
    return word if re.fullmatch(r"[\w.,:/@%+-]+(=[\w.,:/@%+-]*)?", word, re.ASCII) else shlex.quote(word)


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest option, or nothing."""
    comparable = [option for option in options if len(option) <= 100]  # difflib takes minutes to compare long ones
    known = NAMES["train"].get(name.rpartition(".")[2])
    nearest = [known] if known in comparable else difflib.get_close_matches(name, comparable, n=1, cutoff=0.6)
    return f" Did you mean '{nearest[0]}'?" if nearest else ""
