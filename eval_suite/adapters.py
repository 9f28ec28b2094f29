"""The two adapters this package brings: a sentence-transformers model (`st:`) and a Python function (`py:`)."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from eval_suite.buckets import TEXTS_AT_ONCE, encode_in_buckets, own_method
from eval_suite.errors import EvalError, did_you_mean
from eval_suite.shape import shape_of
from eval_suite.vectors import checked

_SAMPLE = [".", "A good film .", "return x[0] if x else None", "Sort the list; then reverse it. " * 20]


class SentenceTransformerEncoder:
    """A sentence-transformers model behind the Encoder protocol.

    Side "x" is what the model's `encode_query` does, "y" its `encode_document`. Symmetric tasks use a third
    side, "plain": the model's own `encode`, as mteb does for classification and similarity, so that a model
    with a query prompt is not scored with it where there is no query.
    max_length: the most tokens it reads, the special ones included, by side where they differ; None where its tokenizer
    sets no limit.
    fast: batches of equal length (`buckets`) in place of the model's own method. The vectors are equal to 1e-5, but a
    probe that stops before its optimum can tell: TREC of all-MiniLM-L6-v2 is 89.8 with them and 90.0, the official
    engine's figure, with the model's own. So it is another encoder, with another fingerprint.
    """

    symmetric_side = "plain"

    def __init__(self, model: Any, name: str, fast: bool = False) -> None:
        self.model, self.name, self.fast = model, name, fast
        self.fingerprint = _model_hash(model)
        if fast:
            self.texts_at_once = TEXTS_AT_ONCE
            self.fingerprint = hashlib.sha256(f"equal lengths {self.fingerprint}".encode()).hexdigest()
        self.max_length: int | dict[str, int] | None = _most_tokens(model)
        pooling = [getattr(module, "pooling_mode", None) for module in model]
        known = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "max_length": max(most.values()) if isinstance(most := self.max_length, dict) else most,
            "pooling": next((str(mode) for mode in pooling if mode), None),
        }
        self.facts = {key: value for key, value in known.items() if value is not None}

    def encode(self, texts: list[str], side: str) -> np.ndarray:
        """float32 (len(texts), d), under whatever precision the model was saved in."""
        return (encode_in_buckets if self.fast else own_method)(self.model, texts, side)

    def token_count(self, texts: list[str]) -> list[int]:
        """How many tokens the texts have before anything is cut, the special ones included."""
        tokenizer = self.model.tokenizer
        return [len(ids) for ids in tokenizer(texts, truncation=False, verbose=False)["input_ids"]]


def load_fast_sentence_transformer(rest: str) -> SentenceTransformerEncoder:
    """`st-fast:` encoders: as `st:`, quicker, and equal to 1e-5 but not to the last bit."""
    slow = load_sentence_transformer(rest)
    return SentenceTransformerEncoder(slow.model, slow.name.replace("st:", "st-fast:", 1), fast=True)


def load_sentence_transformer(rest: str) -> SentenceTransformerEncoder:
    """`st:` encoders: a folder, or a model's name (from the local cache when there is no network).

    Raises EvalError when the package is missing or the model cannot be loaded.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise EvalError(f"encoder 'st:{rest}' needs: pip install sentence-transformers ({error})") from error
    folder = Path(rest).expanduser()
    if rest.startswith(("/", ".", "~")) and not folder.is_dir():  # no model's name looks like that
        raise EvalError(f"encoder 'st:{rest}': no such folder; give a model's folder or name")
    try:
        model = SentenceTransformer(str(folder) if folder.exists() else rest)
    except Exception as error:  # the libraries below raise a dozen types for one mistake: no such model
        reason = str(error).strip().split("\n")[0]
        raise EvalError(
            f"encoder 'st:{rest}': no folder with a model, and no model of that name at hand ({reason})"
        ) from error
    model.eval()
    short = "/".join(folder.resolve().parts[-2:]) if folder.exists() else rest
    return SentenceTransformerEncoder(model, f"st:{short}")


def _model_hash(model: Any) -> str:
    """sha256 over the modules' settings, the tokenizers and every weight."""
    digest = hashlib.sha256()
    for module in model:
        settings = module.get_config_dict() if hasattr(module, "get_config_dict") else {}
        digest.update(json.dumps([type(module).__name__, settings], sort_keys=True, default=str).encode())
    prompts = [model.prompts, model.default_prompt_name, model.max_seq_length, model.truncate_dim]
    digest.update(json.dumps(prompts, sort_keys=True, default=str).encode())
    fast = getattr(model.tokenizer, "backend_tokenizer", None)
    digest.update((fast.to_str() if fast else repr(model.tokenizer)).encode())
    for route, modules in _routes(model):  # their settings are in nothing above
        for module in modules:
            settings = module.get_config_dict() if hasattr(module, "get_config_dict") else {}
            told = [route, type(module).__name__, settings, getattr(module, "max_seq_length", None)]
            digest.update(json.dumps(told, sort_keys=True, default=str).encode())
            own = getattr(getattr(module, "tokenizer", None), "backend_tokenizer", None)
            digest.update(own.to_str().encode() if own else b"")
    shapes: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    for shape in {id(shape): shape for shape in shapes if hasattr(shape, "to_diff_dict")}.values():
        digest.update(shape_of(shape))
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_raw_bytes(tensor))
    return digest.hexdigest()


def _routes(model: Any) -> list[tuple[str, list[Any]]]:
    """The routes of the model's Routers, by name, each with its modules."""
    routers = [module.sub_modules for module in model if hasattr(module, "sub_modules")]
    return [(name, list(modules)) for routes in routers for name, modules in sorted(routes.items())]


def _most_tokens(model: Any) -> int | dict[str, int] | None:
    firsts = {route: modules[0] for route, modules in _routes(model) if modules}
    most = {route: getattr(first, "max_seq_length", None) for route, first in firsts.items()}
    x, y = most.get("query"), most.get("document")
    if x is None or y is None or x == y:
        found: int | None = model.max_seq_length
        return found
    return {"x": x, "y": y, "plain": most.get("plain") or x}


def _raw_bytes(tensor: Any) -> bytes:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    raw: bytes = flat.view(torch.uint8).numpy().tobytes()  # numpy has no bfloat16, but it has bytes
    return raw


class CallableEncoder:
    """A function of (texts) or (texts, side) behind the Encoder protocol.

    A function has no weights to hash: its fingerprint covers the source file of its module and
    the vectors of a few fixed texts, so that it changes when either does.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function, self.name = function, name
        self._takes_side = _positional(function) > 1
        self.fingerprint = self._hash()

    def encode(self, texts: list[str], side: str) -> Any:
        """Whatever the function returns; `encode_texts` checks it."""
        return self.function(texts, side) if self._takes_side else self.function(texts)

    def _hash(self) -> str:
        digest = hashlib.sha256()
        source = getattr(sys.modules.get(self.function.__module__ or ""), "__file__", None)
        if source and Path(source).is_file():
            digest.update(Path(source).read_bytes())
        for side in ("x", "y"):
            try:
                vectors = self.encode(_SAMPLE, side)
            except Exception as error:  # whatever the user's function does
                raise EvalError(
                    f"encoder {self.name}: failed on a list of {len(_SAMPLE)} texts: {type(error).__name__}: {error}"
                ) from error
            digest.update(checked(self.name, vectors, _SAMPLE).tobytes())
        return digest.hexdigest()


def load_callable(rest: str) -> CallableEncoder:
    """`py:module:function` encoders; the working folder is searched for the module too.

    Raises EvalError for a module or function that does not exist or cannot take a list of texts.
    """
    module_name, colon, attribute = rest.partition(":")
    if not colon or not attribute:
        raise EvalError(f"encoder 'py:{rest}': write it as py:module:function")
    module = _import(module_name, rest)
    function = getattr(module, attribute, None)
    if function is None:
        functions = [k for k, v in vars(module).items() if callable(v) and not k.startswith("_")]
        raise EvalError(
            f"encoder 'py:{rest}': module {module_name!r} has no {attribute!r}; {did_you_mean(attribute, functions)}"
        )
    if not callable(function) or _positional(function) < 1:
        raise EvalError(f"encoder 'py:{rest}': must be a function of (texts) or (texts, side)")
    return CallableEncoder(function, f"py:{rest}")


def _import(module_name: str, rest: str) -> Any:
    try:
        return import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise EvalError(
                f"encoder 'py:{rest}': no module {module_name!r}; run from its folder or put that folder on PYTHONPATH"
            ) from error
        raise EvalError(
            f"encoder 'py:{rest}': module {module_name!r} needs {error.name!r}, which is missing"
        ) from error
    except Exception as error:  # whatever the user's module does when it is imported
        raise EvalError(
            f"encoder 'py:{rest}': module {module_name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _positional(function: Any) -> int:
    """How many positional arguments the function can take, 2 at most."""
    if not callable(function):
        return 0
    kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return 2
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return min(2, sum(kind in named for kind in kinds))
