"""Evaluation texts are found by the names of their files wherever they lie, and read in each file's own form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval_suite.errors import EvalError
from eval_suite.texts import evaluation_texts

FILES = {
    "a/downstream/MR/rt-polarity.pos": "a fine film .\n",
    "a/downstream/SST/binary/sentiment-dev": "it works\t1\n",
    "a/downstream/TREC/TREC_10.label": "NUM:dist How far is it ?\n",
    "a/downstream/MRPC/msr_paraphrase_test.txt": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tOne way .\tAnother way .\n",
    "a/SICK/SICK_trial.txt": "pair_ID\tsentence_A\tsentence_B\tscore\tjudgment\n4\tA dog runs\tA dog sits\t3.6\tNEUTRAL\n",
    "sts/STS12-en-test/test-gold/STS.input.MSRvid.txt": "A man runs.\tA man walks.\n",
    "sts/STS16-en-test/x/STS2016.input.headlines.txt": "Rain today\tSun today\n",
    "sts/stsbenchmark/sts-dev.csv": 'main\tMSRvid\t2012\t1\t5.0\tHe said "no.\tHe said no.\n',
    "scifact_beir/corpus.jsonl": json.dumps(
        {"_id": "1", "title": "On cells", "text": "Cells grow. They divide."}
    )
    + "\n",
    "scifact/claims_train.csv": 'id,claim\n0,"Cells, grow."\n',
    "scifact/corpus_train.csv": 'doc_id,title,abstract\n1,On mice,"[\'Mice run.\'\n ""They don\'t sit.""]"\n',
    "cranfield/cran.qry": ".I 001\n.W\nwhat laws must\nbe obeyed .\n",
    "cisi/CISI.ALL": ".I 1\n.T\nA title\n.A\nSomebody\n.W\nA text. Its end.\n.X\n1 5 1\n",
    "cosqa/cosqa-dev.json": json.dumps([{"doc": "python sort", "code": "def s(x): return sorted(x)"}]),
    "cosqa/code_idx_map.txt": json.dumps({"def t(): pass": 0}),
    "other/notes.txt": "not an evaluation text\n",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_every_known_file_is_read(data: Path) -> None:
    found: dict[str, list[str]] = {}
    for task, text in evaluation_texts(data):
        found.setdefault(task, []).append(text)
    assert found == {
        "MR": ["a fine film ."],
        "SST2": ["it works"],
        "TREC": ["How far is it ?"],
        "MRPC": ["One way .", "Another way ."],
        "SICK": ["A dog runs", "A dog sits"],
        "STS12": ["A man runs.", "A man walks."],
        "STS16": ["Rain today", "Sun today"],
        "STSB": ['He said "no.', "He said no."],
        "SciFact": [
            "Cells, grow.",
            "On mice",
            "Mice run.",
            "They don't sit.",
            "On cells",
            "Cells grow.",
            "They divide.",
        ],
        "Cranfield": ["what laws must be obeyed ."],
        "CISI": ["A title", "A text.", "Its end."],
        "CoSQA": ["def t(): pass", "python sort", "def s(x): return sorted(x)"],
    }


def test_mistakes_are_one_line(data: Path, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="is no folder; get one with"):
        list(evaluation_texts(tmp_path / "nowhere"))
    with pytest.raises(EvalError, match=r"no file of MR, CR, .* under it"):
        list(evaluation_texts(data / "other"))
    (data / "cosqa" / "cosqa-dev.json").write_text("[{}]")
    with pytest.raises(EvalError, match=r"cosqa-dev\.json: not in the form of CoSQA \('doc'\)"):
        list(evaluation_texts(data))
