"""Which installed packages the quickstart learns from, watches and is tested on."""

from __future__ import annotations

import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from data_prep.code.sources import STDLIB
from lightning_cpt.errors import ConfigError

# Never trained on; the search pool and the probe come from their code. Frozen: other packages, other numbers.
HELD_OUT = ("networkx", "scipy", "sklearn", STDLIB)
# Not trained on either: the fixed pool that the loss curve is watched on.
VALIDATION = ("PIL", "fsspec", "joblib", "mpmath")
# What pip brings in for `lightning-cpt[quickstart]`. A fixed list, so that whatever else lies in the environment
# does not change the numbers.
TRAIN = (
    "aiohttp",
    "anyio",
    "asgiref",
    "astropy",
    "attr",
    "Bio",
    "click",
    "contourpy",
    "dask",
    "dateutil",
    "django",
    "docstring_parser",
    "filelock",
    "fontTools",
    "httpcore2",
    "httpx2",
    "huggingface_hub",
    "imageio",
    "jinja2",
    "jsonargparse",
    "lazy_loader",
    "lightning",
    "lightning_utilities",
    "markdown_it",
    "matplotlib",
    "multidict",
    "narwhals",
    "nltk",
    "numpy",
    "packaging",
    "pandas",
    "patsy",
    "pip",
    "pyarrow",
    "pygments",
    "pyparsing",
    "regex",
    "rich",
    "safetensors",
    "setuptools",
    "skimage",
    "sqlalchemy",
    "sqlparse",
    "statsmodels",
    "sympy",
    "tifffile",
    "tokenizers",
    "torch",
    "torchmetrics",
    "tqdm",
    "transformers",
    "typer",
    "webdataset",
    "xarray",
    "yaml",
    "yarl",
)


def roots() -> list[Path]:
    """Folder of each package, and of the standard library.

    Raises:
        ConfigError: a package is not installed.
    """
    return [
        Path(sysconfig.get_path("stdlib")) if name == STDLIB else _folder(name)
        for name in (*HELD_OUT, *VALIDATION, *TRAIN)
    ]


def versions() -> dict[str, str]:
    """Version of each package: what the numbers depend on."""
    distributions = packages_distributions()
    found = {STDLIB: ".".join(map(str, sys.version_info[:3]))}
    for name in (*HELD_OUT, *VALIDATION, *TRAIN):
        if name != STDLIB:
            found[name] = _version((distributions.get(name) or [name])[0])
    return found


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


def _folder(name: str) -> Path:
    spec = find_spec(name)
    if spec is None:
        raise ConfigError(
            f"{name}: not installed, and the quickstart mines it; run: pip install -c constraints.txt "
            "-e '.[quickstart]'"
        )
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(str(spec.origin))
