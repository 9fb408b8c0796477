"""What every job of a sweep imports: the server does so once, and the jobs are forked from it."""

import atexit
from importlib import import_module

from ftclf.system.imports import quiet_libraries
from ftclf.system.process_exit import leave_at_once

MODULES = (
    "ftclf.training.trainer",
    "transformers.models.auto.modeling_auto",
    "scipy.optimize",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "matplotlib.textpath",
    "pyarrow.parquet",
    "joblib.externals.loky",  # a job that Hydra's joblib launcher starts must know it
)

quiet_libraries()  # first: it keeps transformers from importing what no job needs
for module in MODULES:
    import_module(module)
atexit.register(leave_at_once)  # the server has nothing of its own, and a pipe waits for its end
