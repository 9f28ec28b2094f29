"""The `cpt` command: finds the verb's module, imports only that one, turns mistakes into one line."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module

from data_prep.errors import DataError
from eval_suite.errors import EvalError
from lightning_cpt._version import __version__
from lightning_cpt.errors import ConfigError, TrainingError

MISTAKE = 2  # exit status of a user's mistake, as in argparse
INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended
TERMINATED = 143  # and for one that SIGTERM did

# verb: (module that defines it, what it does). The modules in WHOLE_LINE take the whole command line.
LIGHTNING = "lightning_cpt.lightning_cli"
GRADIENTS = "lightning_cpt.gradients.cli"
DATA = "lightning_cpt.simulation.cli"
WHOLE_LINE = (LIGHTNING, GRADIENTS, DATA)
VERBS = {
    "prep": (
        "lightning_cpt.prep",
        "make shards of pairs out of source trees, documents or tables; look at them",
    ),
    "fit": (LIGHTNING, "train an encoder from a recipe, or go on from a checkpoint"),
    "validate": (LIGHTNING, "score a checkpoint on the validation split's fixed pool"),
    "test": (LIGHTNING, "score a checkpoint on the test split's fixed pool"),
    "predict": (LIGHTNING, "write embeddings and their ids"),
    "check-gradients": (
        GRADIENTS,
        "measure whether a recipe's gradient on several ranks is the full batch's",
    ),
    "data": (DATA, "what a recipe will do with its data: passes, balance, the ids of each batch"),
    "export": (
        "lightning_cpt.export.cli",
        "write a checkpoint for sentence-transformers, transformers or ONNX",
    ),
    "embed": (
        "lightning_cpt.embed.cli",
        "turn any number of texts into vectors, on any number of GPUs, resumable",
    ),
    "eval": (
        "lightning_cpt.evaluate",
        "score any encoder on public tasks; compare, and check for contamination",
    ),
    "leaderboard": (
        "eval_suite.leaderboard.cli",
        "one page and one markdown table: our results beside the published ones",
    ),
    "search": ("lightning_cpt.search.cli", "find texts, or functions of a source tree, by a sentence"),
    "serve": ("lightning_cpt.serve.cli", "answer OpenAI's embeddings requests with an encoder"),
    "quickstart": (
        "lightning_cpt.quickstart.cli",
        "the whole way once, small: pairs, training, scores, report",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `cpt ARGV` and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if (here := os.getcwd()) not in sys.path:  # an installed command, unlike `python -m`, does not look there
        sys.path.append(here)
    # A name or a text that the terminal's encoding lacks is no mistake.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(arguments)
    except (ConfigError, TrainingError, DataError, EvalError) as error:
        return report(str(error))
    except BrokenPipeError:  # `cpt ... | head`
        sys.stderr.close()
        return MISTAKE
    except KeyboardInterrupt:
        print("cpt: interrupted", file=sys.stderr)
        return INTERRUPTED


def report(message: str) -> int:
    """Print a mistake as one line on stderr; returns the exit status."""
    print(f"cpt: error: {' '.join(message.split())}", file=sys.stderr)
    return MISTAKE


def _run(arguments: list[str]) -> int:
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help"):
        print(_help())
        return 0
    if verb == "--version":
        print(f"cpt {__version__}")
        return 0
    if verb not in VERBS:
        near = get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"unknown command {verb!r}; {hint}commands: {', '.join(VERBS)}")
    module = import_module(VERBS[verb][0])
    if VERBS[verb][0] in WHOLE_LINE:
        status: int = module.run(arguments)
        return status
    return _run_argparse(module.add_commands, arguments)


def _run_argparse(add_commands: Callable[..., None], arguments: list[str]) -> int:
    parser = _Parser(prog="cpt")
    add_commands(parser.add_subparsers(required=True, metavar="COMMAND"))
    parsed = parser.parse_args(arguments)
    status: int = parsed.func(parsed)
    return status


class _Parser(argparse.ArgumentParser):
    """argparse with our one-line errors, in all sub-commands too (they are made by the parent's class)."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise ConfigError(f"{message}; see `{self.prog} --help`")


def _help() -> str:
    width = max(map(len, VERBS))
    rows = "\n".join(f"  {verb:<{width}}  {what}" for verb, (_, what) in VERBS.items())
    return (
        "usage: cpt COMMAND ...\n\n"
        "Contrastive pre-training of text and code encoders, and their evaluation.\n\n"
        f"{rows}\n\n"
        "`cpt COMMAND --help` shows a command's options; `cpt --version` the version."
    )


if __name__ == "__main__":
    sys.exit(main())
