"""The peer of benchmarks.serving: LitServe's own OpenAI spec over sentence-transformers, as its documentation has it."""

from __future__ import annotations

import argparse
from typing import Any

import litserve


class Plain(litserve.LitAPI):
    """Texts -> vectors, by `SentenceTransformer.encode`."""

    def __init__(self, folder: str, threads: int, encode_batch: int, **options: Any) -> None:
        super().__init__(**options)
        self.folder, self.threads, self.encode_batch = folder, threads, encode_batch

    def setup(self, device: str) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(self.threads)
        self.model = SentenceTransformer(self.folder, device=device)

    def predict(self, x: Any) -> Any:
        return self.model.encode(x, batch_size=self.encode_batch)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving_plain", description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--batch", type=int, default=1, help="LitServe's max_batch_size")
    parser.add_argument("--encode-batch", type=int, default=32, help="batch_size of encode")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    options: dict[str, Any] = {"batch_timeout": 0.02} if args.batch > 1 else {}
    spec = litserve.OpenAIEmbeddingSpec()
    api = Plain(args.folder, args.threads, args.encode_batch, max_batch_size=args.batch, spec=spec, **options)
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(
        host="127.0.0.1", port=args.port, generate_client_file=False, log_level="warning", access_log=False
    )


if __name__ == "__main__":
    main()
