"""Training of blocks of models: on this machine, Dask or Slurm, and what it costs."""
