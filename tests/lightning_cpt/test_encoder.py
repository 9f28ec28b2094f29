"""The encoder: any backbone, the end token's state, attention, checkpoints, and what it says to a wrong key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_cpt.encoder import TextEncoder, unit
from lightning_cpt.errors import ConfigError
from lightning_cpt.ragged import Ragged
from lightning_cpt.scored import checkpoint_encoder

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
WIDE = {"max_position_embeddings": 80}
BACKBONES: dict[str, dict[str, Any]] = {
    "llama": {**TINY, **WIDE, "num_key_value_heads": 1},
    "qwen3": {**TINY, **WIDE, "num_key_value_heads": 1, "head_dim": 16},
    "gpt_neox": {**TINY, **WIDE},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 80},
    "mistral": {**TINY, **WIDE, "num_key_value_heads": 1, "sliding_window": 6},
    "opt": {**TINY, **WIDE, "ffn_dim": 64, "word_embed_proj_dim": 16},
    "bert": {**TINY, **WIDE},
    "roberta": {**TINY, **WIDE},
    "modernbert": {**TINY, **WIDE},
}
del BACKBONES["opt"]["intermediate_size"]
DECODERS = ["llama", "qwen3", "gpt_neox", "gpt2", "mistral"]
TEXTS = ["a", "", "def f(x):\n    return x", "b" * 200, "two words", "[brackets] {every} ]where[ }{"]


def build(kind: str, tokenizer: str, **options: Any) -> TextEncoder:
    torch.manual_seed(0)
    config = {"model_type": kind, **BACKBONES[kind], **options.pop("config", {})}
    lengths = {"max_length_x": 48, "max_length_y": 40}
    return TextEncoder(config=config, tokenizer=tokenizer, **{**lengths, **options})


@pytest.fixture(scope="module")
def llama(tokenizer_folder: str) -> TextEncoder:
    return build("llama", tokenizer_folder)


def test_folders_as_paths(tokenizer_folder: str) -> None:
    encoder = build("llama", Path(tokenizer_folder))  # type: ignore[arg-type]
    assert encoder.encode(["a"], side="x").shape[0] == 1


@pytest.mark.parametrize("side", ["x", "y"])
@pytest.mark.parametrize("kind", list(BACKBONES))
def test_mixed_lengths_equal_one_by_one(bracket_tokenizer_folder: str, kind: str, side: Any) -> None:
    encoder = build(kind, bracket_tokenizer_folder)
    together = encoder.encode(TEXTS, side, progress=False)
    alone = np.concatenate([encoder.encode([text], side, progress=False) for text in TEXTS])
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(np.linalg.norm(together, axis=1) - 1).max() < 1e-6
    assert len(np.unique(together.round(5), axis=0)) == len(TEXTS)  # no two texts fell together
    assert encoder.dim == together.shape[1]


@pytest.mark.parametrize("kind", list(BACKBONES))
def test_every_parameter_gets_a_gradient(tokenizer_folder: str, kind: str) -> None:
    """One without would stop DDP: no head, no pooler is left."""
    encoder = build(kind, tokenizer_folder)
    vectors = encoder(encoder.tokenization(TEXTS, "x"))
    (vectors * torch.randn_like(vectors)).sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}


def test_the_vector_is_the_end_tokens_last_state(llama: TextEncoder) -> None:
    batch = llama.tokenization(["[a]", "</x>"], "x")
    ids = batch[0][None]
    state = llama.backbone(input_ids=ids).last_hidden_state[0, -1]
    expected = state / state.norm()
    assert torch.allclose(llama(batch)[0], expected, atol=1e-6)
    # Another end token is another vector: the position read is really that of the end.
    other = ids.clone()
    other[0, -1] = 4
    assert not torch.allclose(llama(Ragged(other[0], batch.lengths[:1]))[0], expected, atol=1e-3)


def test_sides_differ_and_long_texts_keep_their_end(llama: TextEncoder) -> None:
    x, y = (llama.encode(TEXTS, side, progress=False) for side in ("x", "y"))
    assert np.abs(x - y).max(axis=1).min() > 1e-3
    longer = llama.encode(["b" * 200, "b" * 300], "x", progress=False)
    assert np.array_equal(longer[0], longer[1])


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "bert"])
@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_attention_is_what_was_asked_for(tokenizer_folder: str, kind: str, attention: Any) -> None:
    encoder = build(kind, tokenizer_folder, attention=attention).eval()
    tokens = torch.arange(10, 18)[None]
    changed = tokens.clone()
    changed[0, -1] = 40
    states = [encoder.backbone(input_ids=t).last_hidden_state[0, 0] for t in (tokens, changed)]
    assert torch.allclose(*states, atol=1e-6) == (attention == "causal")
    together = encoder.encode(TEXTS, "x", progress=False)
    alone = np.concatenate([encoder.encode([text], "x", progress=False) for text in TEXTS])
    assert np.abs(together - alone).max() < 1e-5


def test_bidirectional_decoders_differ_from_causal_ones(tokenizer_folder: str) -> None:
    for kind in DECODERS:
        causal, both = (
            build(kind, tokenizer_folder, attention=attention).encode(["some text"], "x", progress=False)
            for attention in ("backbone", "bidirectional")
        )
        assert np.abs(causal - both).max() > 1e-4


def test_causal_chunks_go_without_a_mask_and_others_only_where_padded(
    tokenizer_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks: list[Any] = []
    for kind in ("llama", "bert"):
        encoder = build(kind, tokenizer_folder)
        forward = encoder.backbone.forward
        monkeypatch.setattr(
            encoder.backbone,
            "forward",
            lambda forward=forward, **given: masks.append(given["attention_mask"]) or forward(**given),
        )
        for texts in (["abc", "def"], ["abc", "defg"]):
            encoder(encoder.tokenization(texts, "x"))
    assert [mask is not None for mask in masks] == [False, False, False, True]


def test_chunks_and_recomputing_change_nothing(tokenizer_folder: str) -> None:
    gradients = []
    for options in (
        {"chunk_tokens": 10_000},
        {"chunk_tokens": 30, "activation_memory": 0},
        {"chunk_tokens": 30, "activation_memory": "all"},
    ):
        encoder = build(
            "gpt2", tokenizer_folder, config={"resid_pdrop": 0, "attn_pdrop": 0, "embd_pdrop": 0}, **options
        )
        encoder.double()
        encoder(encoder.tokenization(TEXTS, "x"))[:, 0].sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None]))
    assert torch.allclose(gradients[0], gradients[1], atol=1e-13)
    assert torch.allclose(gradients[0], gradients[2], atol=1e-13)


def test_encode_leaves_mode_random_state_and_order_alone(tokenizer_folder: str) -> None:
    encoder = build("gpt2", tokenizer_folder, chunk_tokens=60)  # GPT-2 has dropout 0.1
    assert encoder.training
    assert all(part.training for part in encoder.modules())
    before = torch.get_rng_state()
    first = encoder.encode(TEXTS, "x", progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(part.training for part in encoder.modules())
    turned = encoder.encode(TEXTS[::-1], "x", progress=False)[::-1]
    assert np.abs(first - turned).max() < 1e-6
    assert first.dtype == np.float32


def test_encode_restores_a_frozen_part_that_was_in_eval_mode(tokenizer_folder: str) -> None:
    encoder = build("gpt2", tokenizer_folder)
    frozen = next(iter(encoder.backbone.children()))
    frozen.eval()
    encoder.encode(["a"], "x", progress=False)
    assert not frozen.training
    assert encoder.training


def test_encode_nothing_and_not_texts(llama: TextEncoder) -> None:
    assert llama.encode([], "x", progress=False).shape == (0, 32)
    with pytest.raises(ConfigError, match=r"texts\[1\]: int is not a string"):
        llama.encode(["a", 3], "x", progress=False)  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="not one string"):
        llama.encode("a", "x", progress=False)
    with pytest.raises(ConfigError, match="side: 'query'"):
        llama.encode(["a"], "query", progress=False)  # type: ignore[arg-type]


def test_the_progress_bar_can_be_had(llama: TextEncoder, capsys: pytest.CaptureFixture[str]) -> None:
    llama.encode(["a", "b"], "x", progress=True)
    assert "2/2" in capsys.readouterr().err


def test_unit_vectors_of_low_precision_and_of_nothing() -> None:
    low = torch.randn(4, 64).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert unit(low).dtype == torch.float32
    assert torch.allclose(unit(low).norm(dim=-1), torch.ones(4), atol=1e-6)
    assert unit(low.double()).dtype == torch.float64
    zero = torch.zeros(2, 8, requires_grad=True)
    unit(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()  # type: ignore[arg-type]


def save(encoder: TextEncoder, path: Path, step: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {f"encoder.{key}": value for key, value in encoder.state_dict().items()}
    torch.save({"encoder": encoder.to_dict(), "state_dict": weights, "global_step": step}, path)
    return path


@pytest.mark.parametrize("kind", list(BACKBONES))
def test_a_checkpoint_gives_the_same_encoder(tokenizer_folder: str, tmp_path: Path, kind: str) -> None:
    attention = "bidirectional" if kind == "llama" else "backbone"
    encoder = build(kind, tokenizer_folder, attention=attention)
    path = save(encoder, tmp_path / "runs" / "first" / "checkpoints" / "last.ckpt")
    state = torch.get_rng_state()
    again = TextEncoder.load(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert not again.training
    assert again.fingerprint == encoder.fingerprint
    assert again.name == "first-step7"
    assert np.array_equal(
        again.encode(TEXTS, "y", progress=False), encoder.encode(TEXTS, "y", progress=False)
    )


def test_a_checkpoint_of_another_class_is_loaded_by_that_class(
    llama: TextEncoder, tokenizer_folder: str, tmp_path: Path
) -> None:
    class Mine(TextEncoder):
        pass

    path = tmp_path / "last.ckpt"
    state = {f"encoder.{key}": value for key, value in llama.state_dict().items()}
    config = "model: {encoder: {class_path: mine.Mine, init_args: {}}}"
    torch.save({"encoder": llama.to_dict(), "state_dict": state, "config": config}, path)
    assert isinstance(Mine.load(path), Mine)
    for load in (TextEncoder.load, lambda path: TextEncoder(backbone=path)):
        with pytest.raises(ConfigError, match=r"its encoder is mine\.Mine, a class of your own; ") as caught:
            load(str(path))
        assert "\n" not in str(caught.value)


def test_the_suites_name_for_a_checkpoint(llama: TextEncoder, tmp_path: Path) -> None:
    encoder = checkpoint_encoder(str(save(llama, tmp_path / "quick" / "last.ckpt", step=12)))
    assert encoder.name == "quick-step12"
    assert encoder.fingerprint == llama.fingerprint


def test_the_fingerprint_knows_weights_and_tokenisation(tokenizer_folder: str) -> None:
    one, two = build("llama", tokenizer_folder), build("llama", tokenizer_folder)
    assert one.fingerprint == two.fingerprint
    with torch.no_grad():
        next(two.parameters())[0, 0] += 1e-3
    shorter = build("llama", tokenizer_folder, max_length_x=20)
    both = build("llama", tokenizer_folder, attention="bidirectional")
    assert len({e.fingerprint for e in (one, two, shorter, both)}) == 4


def test_a_path_that_is_no_checkpoint_is_one_line(llama: TextEncoder, tmp_path: Path) -> None:
    good = save(llama, tmp_path / "run" / "a.ckpt")
    (cut := tmp_path / "cut.ckpt").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (text := tmp_path / "text.ckpt").write_text("no checkpoint\n")
    torch.save({"state_dict": {}}, other := tmp_path / "other.ckpt")
    torch.save([1, 2], listed := tmp_path / "list.ckpt")
    says = {
        tmp_path / "none.ckpt": "no such checkpoint",
        tmp_path / "run": "a folder, not a checkpoint; name a file, such as .*a.ckpt",
        cut: "not a readable checkpoint",
        text: "not a readable checkpoint",
        other: "holds no encoder",
        listed: "holds no encoder",
    }
    for path, message in says.items():
        with pytest.raises(ConfigError, match=message) as caught:
            TextEncoder.load(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_pretrained_weights_come_from_a_local_folder(tokenizer_folder: str, tmp_path: Path) -> None:
    first = build("bert", tokenizer_folder)
    first.backbone.save_pretrained(tmp_path / "model")  # type: ignore[operator]
    lengths = {"max_length_x": 48, "max_length_y": 40}
    folder = str(tmp_path / "model")
    same = TextEncoder(folder, tokenizer=tokenizer_folder, **lengths)  # type: ignore[arg-type]
    fresh = TextEncoder(folder, tokenizer=tokenizer_folder, pretrained=False, **lengths)  # type: ignore[arg-type]
    assert same.fingerprint == first.fingerprint
    assert same.name == folder
    assert fresh.fingerprint != first.fingerprint
    assert all(part.training for part in same.modules())  # transformers hands it over in eval mode
    dropping = TextEncoder(
        folder,
        {"hidden_dropout_prob": 0.5},
        tokenizer=tokenizer_folder,
        **lengths,  # type: ignore[arg-type]
    )
    assert dropping.backbone.config.hidden_dropout_prob == 0.5  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=r"backbone: .* has no weights for 16 of the model's tensors"):
        TextEncoder(folder, {"num_hidden_layers": 3}, tokenizer=tokenizer_folder)
    with pytest.raises(ConfigError, match=r"config.model_type: .* is a bert"):
        TextEncoder(folder, {"model_type": "llama"}, tokenizer=tokenizer_folder)
    with pytest.raises(ConfigError, match=r"tokenizer: .* holds no vocabulary"):
        TextEncoder(folder)


def test_a_model_on_the_meta_device_needs_no_memory(tokenizer_folder: str) -> None:
    with torch.device("meta"):
        encoder = build("llama", tokenizer_folder, config={"num_hidden_layers": 40})
    assert all(p.is_meta for p in encoder.parameters())
    assert encoder.dim == 32


@pytest.mark.parametrize(
    ("config", "options", "says"),
    [
        (None, {}, "backbone: give a hub name or a folder"),
        ({"hidden_size": 3}, {}, "backbone: give .* a `config` with a `model_type`"),
        ({"model_type": "lama"}, {}, "config.model_type: transformers knows no 'lama'; did you mean 'llama'"),
        ({"model_type": "llama", "hiden_size": 8}, {}, "config.hiden_size: .* did you mean 'hidden_size'"),
        ({"model_type": "llama", "hidden_size": 33, "num_attention_heads": 2}, {}, "config: .*not a multiple"),
        ({"model_type": "llama", "hidden_size": "wide"}, {}, "config: .*hidden_size"),
        ({"model_type": "t5"}, {}, "config.model_type: t5 is an encoder-decoder"),
        ({"model_type": "llama", "vocab_size": 9}, {}, "config.vocab_size: 9 rows for a tokenizer of 261"),
        ({"model_type": "llama", **TINY, **WIDE}, {"max_length_y": 81}, "max_length_y: 81 .* 80 positions"),
        ({"model_type": "roberta", **TINY, **WIDE}, {"max_length_x": 80}, "max_length_x: 80 .* 79 positions"),
        ({"model_type": "llama", **TINY}, {"chunk_tokens": 0}, "chunk_tokens: 0"),
        ({"model_type": "mpnet", **TINY}, {"attention": "causal"}, "attention: mpnet stays bidirectional"),
        (
            {"model_type": "gpt_neo", "hidden_size": 32, "num_layers": 2, "num_heads": 2,
             "attention_types": [[["global"], 2]]},
            {"attention": "bidirectional"},
            "attention: gpt_neo stays causal",
        ),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named(
    tokenizer_folder: str, config: dict[str, Any] | None, options: dict[str, Any], says: str
) -> None:
    lengths = {"max_length_x": 40, "max_length_y": 40}
    with pytest.raises(ConfigError, match=says) as caught:
        TextEncoder(None, config, tokenizer_folder, **{**lengths, **options})
    assert "\n" not in str(caught.value)


def test_no_tokenizer_at_all_is_named() -> None:
    with pytest.raises(ConfigError, match="tokenizer: give a folder"):
        TextEncoder(config={"model_type": "llama"})


def test_an_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("Name or service not known\nand more")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", offline)
    with pytest.raises(
        ConfigError, match=r"tokenizer: 'nobody/nothing' .* hub cannot be reached; give a"
    ) as caught:
        TextEncoder("nobody/nothing")
    assert "\n" not in str(caught.value)


def test_its_description_is_plain(llama: TextEncoder) -> None:
    assert json.loads(json.dumps(llama.to_dict())) == llama.to_dict()


@pytest.mark.slow
def test_a_compiled_backbone_gives_the_same_values_and_gradients(tokenizer_folder: str) -> None:
    found = []
    for compile_it in (False, True):
        options = {"compile": compile_it, "chunk_tokens": 60, "activation_memory": 0}
        encoder = build("qwen3", tokenizer_folder, **options)
        vectors = encoder(encoder.tokenization(TEXTS * 2, "x"))
        (vectors * torch.arange(vectors.numel()).view_as(vectors).sin()).sum().backward()
        grads = torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None])
        found.append((vectors.detach(), grads))
        assert not any("_orig_mod" in key for key in encoder.state_dict())
    for compiled, plain in zip(found[1], found[0], strict=True):
        assert float((compiled - plain).norm() / plain.norm()) < 1e-5


def test_the_fingerprint_knows_the_shape(tokenizer_folder: str) -> None:
    one = build("llama", tokenizer_folder)
    other = build(
        "llama", tokenizer_folder, config={"rope_parameters": {"rope_theta": 5.0, "rope_type": "default"}}
    )
    other.load_state_dict(one.state_dict())
    assert not np.array_equal(
        one.encode(TEXTS, "y", progress=False), other.encode(TEXTS, "y", progress=False)
    )
    assert one.fingerprint != other.fingerprint
