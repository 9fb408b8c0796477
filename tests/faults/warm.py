"""Imported once by the server of the trials: what each of them would otherwise do again before its first step."""

import contextlib
import io
import pkgutil

import hydra_plugins
import joblib.externals.loky  # noqa: F401
import matplotlib.backends.backend_agg  # noqa: F401
import peft  # noqa: F401
import sklearn.linear_model  # noqa: F401
import transformers.models.bert.modeling_bert  # noqa: F401
from hydra._internal import core_plugins
from matplotlib import pyplot
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

import ftclf.checkpoint.eval
import ftclf.checkpoint.predict
import ftclf.cli.commands
import ftclf.cli.main
import ftclf.fast.cpu.encoder
import ftclf.model.method
import ftclf.report.sections
import ftclf.system.versions
import ftclf.training.run
import ftclf.training.trainer

get_checkpoint_conversion_mapping("bert")  # compiles a thousand patterns
for package in (core_plugins, hydra_plugins):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        __import__(module.name)
with contextlib.redirect_stdout(io.StringIO()):
    ftclf.cli.main.run(["train", "--help"])  # composes what every other command is compared with
pyplot.subplots()[0].savefig(io.BytesIO())
pyplot.close("all")
