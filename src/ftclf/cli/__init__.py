"""The command line: the table of commands, Hydra and its traps, sweeps, help and what goes wrong in one line."""
