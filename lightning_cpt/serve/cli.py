"""The `cpt serve` command: an encoder behind OpenAI's embeddings endpoint."""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec

from lightning_cpt.errors import ConfigError

KEY = "CPT_API_KEY"


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `serve`; it sets `func`, a function of the arguments that returns the exit status."""
    serve = subparsers.add_parser(
        "serve",
        help="answer OpenAI's embeddings requests with an encoder",
        epilog=f"Clients must send the key that the environment variable {KEY} holds, where it is set.",
    )
    add = serve.add_argument
    add("--encoder", required=True, metavar="SPEC", help="ckpt:FILE or st:NAME_OR_FOLDER")
    add("--name", metavar="NAME", help="what requests call the model (default: the encoder's name)")
    add(
        "--host",
        default="127.0.0.1",
        metavar="HOST",
        help="0.0.0.0 or :: open it to others (default: %(default)s)",
    )
    add("--port", type=int, default=8000, metavar="N", help="default: %(default)s")
    add(
        "--dimensions",
        default="",
        metavar="A,B",
        help="widths that requests may ask for beside the model's own; for models that were trained for them",
    )
    add("--max-items", type=int, default=2048, metavar="N", help="texts of a request (default: %(default)s)")
    add("--max-tokens", type=int, default=300_000, metavar="N", help="of a request (default: %(default)s)")
    add(
        "--max-bytes",
        type=int,
        default=8 << 20,
        metavar="N",
        help="of a request's body (default: %(default)s)",
    )
    add("--max-waiting", type=int, default=65536, metavar="N", help="texts in all (default: %(default)s)")
    add(
        "--timeout",
        type=float,
        default=600.0,
        metavar="S",
        help="seconds for a request (default: %(default)s)",
    )
    add("--accelerator", default="auto", choices=("auto", "cpu", "cuda"), help="default: %(default)s")
    add("--devices", default="auto", metavar="N", help="a process with the model on each (default: all)")
    add("--threads", type=int, default=0, metavar="N", help="of torch in each process (default: torch's own)")
    serve.set_defaults(func=serve_command)


def serve_command(args: argparse.Namespace) -> int:
    """`cpt serve`: everything is checked before a process starts."""
    missing = [name for name in ("litserve", "prometheus_client") if not find_spec(name)]
    if missing:
        raise ConfigError(f"serving needs {missing[0]}: pip install 'lightning-cpt[serve]'")
    for name in ("max_items", "max_tokens", "max_bytes", "max_waiting", "timeout"):
        if not getattr(args, name) > 0:
            raise ConfigError(f"--{name.replace('_', '-')} {getattr(args, name)}: must be above 0")
    if args.threads < 0:
        raise ConfigError(f"--threads {args.threads}: must be 0 or more")
    from lightning_cpt.serve.request import Limits
    from lightning_cpt.serve.server import Settings, check, serve

    limits = Limits(args.max_items, args.max_tokens, args.max_bytes, _dimensions(args.dimensions))
    settings = Settings(
        encoder=args.encoder,
        name=args.name,
        host=args.host,
        port=args.port,
        key=_key(),
        limits=limits,
        most_waiting=args.max_waiting,
        seconds=args.timeout,
        accelerator=args.accelerator,
        devices=_devices(args.devices),
        threads=args.threads,
    )
    check(settings)
    return serve(settings)


def _key() -> str | None:
    """The key; none where the variable is not there. Raises a ConfigError for one that no client could send."""
    key = os.environ.get(KEY)
    if key is not None and not (key and key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(
            f"{KEY}: is empty, or holds spaces or characters beyond ASCII, so no client could send it; unset it to serve "
            "without a key"
        )
    return key


def _dimensions(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--dimensions {text}: give widths such as 64,128")
    return tuple(map(int, parts))


def _devices(text: str) -> int | str:
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise ConfigError(f"--devices {text}: must be auto, or a number of 1 or more")
    return text if text == "auto" else int(text)
