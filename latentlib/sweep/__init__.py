"""Papermill over a grid of parameters: a YAML beside the chapter, one executed notebook per run, one parquet table.

    chapter: notebooks/00_one_spectrum.py     # path from the project's root, or beside the YAML
    grid: {seed: [0, 1, 2], dataset: [digits, breast_cancer]}
    fixed: {n_latent: 8}

`plan` reads and checks it, `run` executes what is not done, `harvest` makes and loads the table.
"""


def __getattr__(name: str):
    if name == "read_table":
        from latentlib.sweep.harvest import read_table

        return read_table
    raise AttributeError(f"latentlib.sweep has no {name!r}; it has plan, run, harvest and read_table")
