"""The command line (commands, Hydra, sweeps, help, errors in one line), and what `import ftclf` calls of it."""
