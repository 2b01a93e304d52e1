"""`encoder.from`: a training begins with the weights of a directory of sentence-transformers, or of an earlier run."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from app.core.bundle import Bundle, read_bundle
from app.core.modalities.base import Limits, Modality
from app.runtime.encoder import Encoder
from app.runtime.session import open_session
from model_export.__main__ import main
from model_export.encoders import TwinEncoder
from model_export.export import PARITY, read_run, to_onnx, torch_embed_prepared
from model_export.populations import read_splits
from model_export.precisions.eight_bits import to_int8
from model_export.precisions.sources import half_graph
from model_export.recipe import read_recipe
from model_export.training import make_modality, make_network
from model_export.training.checkpoints import read_tensors, write_weights
from model_export.training.run_folder import WEIGHTS_FILE, read_facts
from model_export.training.trainer import Trainer
from tests.model_export.importing.optimised import count_operators
from tests.model_export.importing.tiny_sentences import MAX_TOKENS, write_sentence_encoder
from tests.model_export.tiny_sets import RECIPES, write_tiny_questions
from tests.supervisor.live import live_service

DOCS = Path(__file__).parents[2] / "docs"
SENTENCES = """[modality]
name = "text"

[encoder]
name = "sentence_transformers"
from = "model"
dimension = 32

[loss]
name = "supervised_contrastive"
"""
BAG = """[modality]
name = "text"

[modality.params]
tokenizer = "tokenizer.json"
unicode_form = "NFKC"
max_tokens = 64
lengths = [16, 32, 64]
pad_id = 0
inputs = ["input_ids", "attention_mask"]
prefixes = {}
long_text = "refuse"

[encoder]
name = "bag"
width = 16
hidden = 16
dropout = 0.2
dimension = 32
lexical_share = 0.3
lexical_dimension = 16

[loss]
name = "supervised_contrastive"
"""
TOKENIZER = "[tokenizer]\nvocabulary = 200\n\n"
STILL = {"learning_rate": "1e-30", "weight_decay": "0.0"}
"""Changes that leave the weights as they begin: float32 knows no step so short."""
LAYERS = 2
"""Of the directory."""
PREFIXES = {"query": "query: ", "passage": ""}


def write_recipe(path: Path, sections: str = SENTENCES, **changes: str) -> Path:
    """`sections` in the shipped recipe for questions, on one thread; `changes`: a whole line's key -> its new value."""
    text = (RECIPES / "questions.toml").read_text("utf-8")
    rest = re.sub(r"(?ms)^\[tokenizer\].*?(?=^\[sampler\])", lambda _: f"{sections}\n", text)
    schedule = {"steps": "4", "warmup_steps": "0", "check_every": "2", "classes": "4", "per_class": "3"}
    for key, value in (schedule | {"draws": "1000", "name": '"tuned"'} | changes).items():
        rest, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", rest, count=1)
        assert count == 1, key
    path.write_text(f'{rest}\n[compute]\ndevice = "cpu"\nthreads = 1\n', "utf-8")
    return path


def follow(beside: Path, run: str, sections: str = SENTENCES, **changes: str) -> Path:
    """Train on the tiny questions, the recipe beside the run folder, which is returned."""
    recipe = write_recipe(beside / f"{run}.toml", sections, **changes)
    assert main(["train", str(recipe), "--out", str(beside / run)]) == 0
    return beside / run


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny questions, `model`, a directory of MiniLM's shape, and `bag`, a run of an encoder of the project's own."""
    folder = tmp_path_factory.mktemp("tuning")
    write_tiny_questions(folder / "data")
    write_sentence_encoder(folder, prompts=PREFIXES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINSERVE_DATA", str(folder / "data"))
        follow(folder, "bag", TOKENIZER + BAG)
    return folder


@pytest.fixture(autouse=True)
def _sees_data(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSERVE_DATA", str(work / "data"))


def refused(beside: Path, capsys: pytest.CaptureFixture[str], sections: str, **changes: str) -> str:
    """`train` into the folder `run` must fail with one line, which is returned, and write nothing there."""
    recipe = write_recipe(beside / "refused.toml", sections, **changes)
    capsys.readouterr()
    assert main(["train", str(recipe), "--out", str(beside / "run")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("train: ")
    assert error.count("\n") == 1
    assert not (beside / "run" / "recipe.toml").exists()
    return error


def operators(graph: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(graph).graph.node)


def trained(run: Path) -> tuple[TwinEncoder, Modality]:
    """The encoder of a run, with the library's own layers, and what prepares its texts."""
    recipe = read_recipe(run / "recipe.toml")
    modality = make_modality(recipe, run)
    return read_run(run, make_network(recipe, modality, run))[0], modality


@pytest.fixture(scope="module")
def tuned(work: Path) -> tuple[Path, Bundle]:
    """A run whose directory is gone, and the bundle exported from it."""
    folder = work / "alone"
    shutil.copytree(work / "model", folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINSERVE_DATA", str(work / "data"))
        run = follow(folder, "run", steps="6", check_every="6", learning_rate="1e-3")
    shutil.rmtree(folder / "model")
    assert main(["export", str(run), "--out", str(folder / "exported")]) == 0
    return run, read_bundle(folder / "exported" / "tuned" / "1.0.0")


def test_a_bundle_of_a_tuned_directory_prepares_texts_as_the_directory_does(tuned: tuple[Path, Bundle]) -> None:
    _, bundle = tuned
    Encoder(bundle, device="cpu", threads=1).replay_golden()
    manifest = bundle.manifest
    assert manifest.graph.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert manifest.modality.params["max_tokens"] == MAX_TOKENS
    assert {name: manifest.modality.params["prefixes"][name] for name in PREFIXES} == PREFIXES
    assert any("prefix" in item for item in bundle.golden.items)
    assert "begun with the weights of a sentence-transformers directory (BertModel" in manifest.training.data
    assert "invented/pairs" in manifest.training.data
    assert {"sentence-transformers", "transformers"} <= set(manifest.training.library_versions)


def test_a_tuned_directory_is_exported_as_rows_of_tokens(tuned: tuple[Path, Bundle], tmp_path: Path) -> None:
    run, bundle = tuned
    encoder, modality = trained(run)
    library = count_operators(to_onnx(encoder, modality), tmp_path)
    rows = count_operators(bundle.graph, tmp_path)
    assert library["BiasGelu"] == rows["Gelu"] == LAYERS
    assert rows["Gemm"] == 6 * LAYERS
    assert rows["FusedMatMul"] == 2 * LAYERS
    assert rows["Transpose"] < library["Transpose"]


@pytest.mark.parametrize("lengths", [(7,), (7, 7, 7), (7, 4, 1)])
@pytest.mark.parametrize("padding", [0, 9])
def test_rows_of_tokens_give_the_vectors_that_were_trained(
    tuned: tuple[Path, Bundle], lengths: tuple[int, ...], padding: int
) -> None:
    run, bundle = tuned
    encoder, _ = trained(run)
    rng = np.random.default_rng(2)
    texts = [rng.integers(4, 20, (1, length)) for length in lengths]
    with torch.inference_mode():
        alone = [torch.from_numpy(ids) for ids in texts]
        wanted = torch.cat([encoder(ids, torch.ones_like(ids), torch.zeros_like(ids)) for ids in alone]).numpy()
    width = max(lengths) + padding
    rows = np.concatenate([np.pad(ids, ((0, 0), (0, width - ids.shape[1]))) for ids in texts])
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.int64)
    session = open_session(bundle.graph, device="cpu", threads=1)
    got = session.run("vectors", {"input_ids": rows, "attention_mask": mask, "token_type_ids": np.zeros_like(rows)})
    assert np.abs(wanted[:-1] - wanted[1:]).max(initial=0.1) > 0.05
    assert np.abs(got - wanted).max() <= PARITY


def test_an_export_leaves_the_trained_encoder_as_it_was(tuned: tuple[Path, Bundle]) -> None:
    run, bundle = tuned
    encoder, modality = trained(run)
    window = modality.prepare({"text": "how do I pay"}, Limits()).windows[0]
    given = [torch.from_numpy(window[name][None]) for name in encoder.inputs]
    kept = load_file(run / WEIGHTS_FILE)
    before = encoder(*given)
    assert to_onnx(encoder.for_export(), modality) == bundle.graph
    assert torch.equal(encoder(*given), before)
    state = encoder.state_dict()
    assert state.keys() == kept.keys()
    assert all(torch.equal(state[name], kept[name]) for name in kept)
    encoder.train()(*given)[0, 0].backward()  # and it can be trained on
    moved = {name for name, weight in encoder.named_parameters() if weight.grad is not None}
    assert {name for name, _ in encoder.named_parameters() if ".layer." in name} <= moved


def test_int8_of_a_tuned_bundle_rounds_every_product_with_weights(tuned: tuple[Path, Bundle]) -> None:
    _, bundle = tuned

    def vectors(graph: bytes) -> npt.NDArray[np.float32]:
        arrays = {name: np.ones((2, 8), np.int64) for name in bundle.manifest.graph.inputs}
        return open_session(graph, device="cpu", threads=1).run(bundle.manifest.graph.output, arrays)

    small, method = to_int8(bundle.graph, list)
    assert method == "dynamic"
    assert operators(small)["MatMulInteger"] == 6 * LAYERS
    assert operators(small)["Gemm"] == 0
    assert np.abs(vectors(small) - vectors(bundle.graph)).max() < 0.05


def test_a_tuned_bundle_is_calibrated_and_served(tuned: tuple[Path, Bundle], tmp_path: Path) -> None:
    run, bundle = tuned
    item = read_splits(read_recipe(run / "recipe.toml")).calibration.items[0]
    made = run.parent / "exported" / "tuned" / "1.0.0"
    assert main(["calibrate", str(made), "--recipe", str(run.parent / "run.toml"), "--out", str(tmp_path)]) == 0
    with live_service(tmp_path) as service:
        service.wait_ready(1)
        asked = {"a": item, "b": {"text": item["text"].upper()}, "threshold": 0.9}
        answer = httpx.post(f"{service.url}/compare", json=asked, timeout=60).json()
    assert answer["verdict"] == "match"  # the directory's tokenizer lower-cases
    assert answer["fingerprint"] == bundle.fingerprint
    assert answer["operating_point"]["calibration"]["source"] == "shipped"


def test_the_half_encoder_of_a_tuned_directory_is_made_from_its_run(tuned: tuple[Path, Bundle]) -> None:
    run, bundle = tuned
    graph = half_graph(run, bundle)
    assert len(graph) < 0.6 * len(bundle.graph)
    assert operators(graph)["Gemm"] == 0  # as the library has it: rows of tokens were measured on CPU only


def test_before_training_the_encoder_gives_what_the_library_gives(work: Path) -> None:
    run = follow(work, "still", **STILL)
    encoder, modality = trained(run)
    items = [{"text": "how do I pay"}, {"text": "how do I pay", "prefix": "query"}]
    rows = torch_embed_prepared(encoder, [modality.prepare(item, Limits()) for item in items])
    library = SentenceTransformer(str(work / "model"), device="cpu")
    wanted = [library.encode("how do I pay"), library.encode("how do I pay", prompt_name="query")]
    assert np.abs(rows - np.stack(wanted)).max() < 1e-6


def test_training_moves_the_weights_and_tells_intents_apart_better(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    follow(work, "better", steps="30", check_every="30", learning_rate="3e-3")
    said = capsys.readouterr().err
    before, after = (float(re.findall(rf"{words} (\S+)", said)[-1]) for words in ("before training", "validation AUC"))
    assert after > before + 0.05


@pytest.mark.parametrize("share", ["0.0", "0.25"])
def test_a_stopped_training_goes_on_to_the_very_weights_of_one_that_was_not(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: str
) -> None:
    sections = SENTENCES.replace("dimension = 32", f"dimension = 32\nfrom_share = {share}")
    source = shutil.copytree(work / "model", tmp_path / "model")
    changes = {"learning_rate": "1e-3"}
    whole = follow(tmp_path, "whole", sections, **changes)
    step = Trainer.step

    def step_and_die(self: Trainer, number: int, steps: int) -> None:
        step(self, number, steps)
        if number == 3:
            raise MemoryError

    recipe = write_recipe(tmp_path / "cut.toml", sections, **changes)
    monkeypatch.setattr(Trainer, "step", step_and_die)
    with pytest.raises(MemoryError):
        main(["train", str(recipe), "--out", str(tmp_path / "cut")])
    monkeypatch.setattr(Trainer, "step", step)
    shutil.rmtree(source)  # the run has its own copy
    assert main(["train", str(recipe), "--out", str(tmp_path / "cut")]) == 0
    assert (tmp_path / "cut" / WEIGHTS_FILE).read_bytes() == (whole / WEIGHTS_FILE).read_bytes()
    tensors, others = read_tensors(tmp_path / "cut"), read_tensors(whole)
    assert tensors.keys() == others.keys()
    assert all((tensors[name] == others[name]).all() for name in tensors)


def test_frozen_layers_stay_and_those_above_move(work: Path) -> None:
    frozen = SENTENCES.replace("dimension = 32", "dimension = 32\nfrozen_layers = 1")
    still, moved = (
        load_file(follow(work, name, frozen, **changes) / WEIGHTS_FILE)
        for name, changes in (("frozen-still", STILL), ("frozen", {"learning_rate": "1e-3"}))
    )
    same = {name for name in still if torch.equal(still[name], moved[name])}
    low = {name for name in still if ".embeddings." in name or ".layer.0." in name}
    assert low <= same
    assert {name for name in still if ".layer.1." in name and name.endswith("weight")}.isdisjoint(same)


def test_a_share_of_the_first_weights_is_in_those_exported(work: Path) -> None:
    half = SENTENCES.replace("dimension = 32", "dimension = 32\nfrom_share = 0.25")
    first = load_file(follow(work, "first", **STILL) / WEIGHTS_FILE)
    alone = load_file(follow(work, "alone", learning_rate="1e-3") / WEIGHTS_FILE)
    shared = load_file(follow(work, "shared", half, learning_rate="1e-3") / WEIGHTS_FILE)
    for name, weight in shared.items():
        if weight.is_floating_point():
            torch.testing.assert_close(weight, 0.25 * first[name] + 0.75 * alone[name])
    assert any(not torch.equal(shared[name], alone[name]) for name in shared)


def test_a_run_begins_with_another_runs_weights_tokenizer_and_counts(work: Path) -> None:
    onwards = BAG.replace('name = "bag"', 'name = "bag"\nfrom = "bag"').replace("dropout = 0.2", "dropout = 0.0")
    run = follow(work, "onwards", onwards, **STILL)
    assert (run / "tokenizer.json").read_bytes() == (work / "bag" / "tokenizer.json").read_bytes()
    first, now = load_file(work / "bag" / WEIGHTS_FILE), load_file(run / WEIGHTS_FILE)
    assert all(torch.equal(first[name], now[name]) for name in first)
    assert "begun with the weights of the run tuned.toml#" in read_facts(run)["data"]


def test_a_tuned_directory_is_tuned_on_and_keeps_its_tokenizer(work: Path) -> None:
    run = follow(work, "once", learning_rate="1e-3")
    again = SENTENCES.replace('from = "model"', 'from = "once"')
    first, now = (load_file(one / WEIGHTS_FILE) for one in (run, follow(work, "twice", again, **STILL)))
    assert all(torch.equal(first[name], now[name]) for name in first)
    assert (work / "twice" / "tokenizer.json").read_bytes() == (run / "tokenizer.json").read_bytes()
    assert "a sentence-transformers directory" in read_facts(work / "twice")["data"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('from = "model"', 'from = "nowhere"', "nowhere: no such folder"),
        ('from = "model"', 'from = "data"', "modules.json"),
        ('from = "model"', 'from = "bag"', "encoder.name: 'sentence_transformers' here, and 'bag'"),
        ('from = "model"', "", "encoder.from"),
        ("dimension = 32", "dimension = 64", "encoder.dimension: 64 here, and vectors of"),
        ("dimension = 32", "dimension = 32\nfrozen_layers = 2", "frozen_layers: 2 leaves none of the 2 layers"),
        ('name = "text"', 'name = "text"\nparams = { max_tokens = 64 }', "max_tokens: 64 here, and"),
        ("[modality]", "[tokenizer]\nvocabulary = 200\n\n[modality]", "with encoder.from it comes from there"),
    ],
)
def test_a_directory_that_does_not_fit_the_recipe_is_told_in_one_line(
    work: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    assert said in refused(work, capsys, SENTENCES.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hidden = 16", "hidden = 24", "encoder.hidden: 24 here, and 16 in"),
        ("lengths = [16, 32, 64]", "lengths = [64]", "modality.params.lengths: [64] here, and [16, 32, 64] in"),
        ('from = "bag"', 'from = "model"', "model holds no recipe.toml, so it is no run folder"),
        ('from = "bag"', 'from = "run/earlier"', "lies in the run folder"),
        ("[modality.params]", "[modality.parms]", "modality.parms"),
        ('from = "bag"', "from_share = 0.5", "from_share: is of the weights that `from` names"),
    ],
)
def test_a_run_that_does_not_fit_the_recipe_is_told_in_one_line(
    work: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    (work / "run" / "earlier").mkdir(parents=True, exist_ok=True)
    assert said in refused(work, capsys, BAG.replace('name = "bag"', 'name = "bag"\nfrom = "bag"').replace(old, new, 1))


def test_what_is_measured_never_trained_the_first_weights_either(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onwards = BAG.replace('name = "bag"', 'name = "bag"\nfrom = "bag"')
    assert "another cut of the same data" in refused(work, capsys, onwards, shares="[0.3, 0.2, 0.07]")
    shutil.copytree(work / "data", work / "data" / "more", dirs_exist_ok=True)
    follow(work, "elsewhere", onwards, folder='"more"')
    assert "bag was trained on other data; see that nothing of it" in capsys.readouterr().err
    further = onwards.replace('from = "bag"', 'from = "elsewhere"')  # the first run's cut is not forgotten
    assert "another cut of the same data" in refused(work, capsys, further, shares="[0.3, 0.2, 0.07]")


def test_a_run_without_weights_is_told_before_any_data_is_read(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TWINSERVE_DATA")
    shutil.copytree(work / "bag", tmp_path / "bag")
    (tmp_path / "bag" / WEIGHTS_FILE).unlink()
    onwards = BAG.replace('name = "bag"', 'name = "bag"\nfrom = "bag"')
    assert f"holds no {WEIGHTS_FILE}" in refused(tmp_path, capsys, onwards)


def test_one_weight_of_two_names_is_kept_under_both(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    write_weights(tmp_path / "w", {"shared": weight, "embeddings": weight})
    kept = load_file(tmp_path / "w")
    assert all(torch.equal(kept[name], weight) for name in ("shared", "embeddings"))


def test_a_directory_keeps_the_comparison_that_it_declares_unless_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sentence_encoder(tmp_path, further=(), similarity_fn_name="euclidean")
    assert "compares by euclidean; give normalise" in refused(tmp_path, capsys, SENTENCES)
    follow(tmp_path, "cosine", SENTENCES.replace("dimension = 32", "dimension = 32\nnormalise = true"))


def block(page: str, pattern: str) -> str:
    """The one group of the first match in a page of docs/."""
    found = re.search(pattern, (DOCS / page).read_text("utf-8"), re.DOTALL)
    assert found
    return found[1]


def test_the_example_of_the_page_trains_on_the_pairs_of_the_other_page(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TWINSERVE_DATA")
    recipe = block("recipes.md", r"<!-- fine-tuning example -->\n```toml\n(.*?)```")
    table = block("your-data.md", r"python - <<'END'\n((?:(?!END\n).)*pairs\.csv.*?)END\n")
    monkeypatch.chdir(tmp_path)
    exec(table, {})
    shutil.copytree(work / "model", tmp_path / "runs" / "minilm")
    for old, new in (("dimension = 384", "dimension = 32"), ("steps = 200", "steps = 20")):
        assert old in recipe
        recipe = recipe.replace(old, new)
    Path("asked.toml").write_text(recipe, "utf-8")
    assert main(["train", "asked.toml", "--out", "run"]) == 0
    assert "step 20 of 20" in capsys.readouterr().err


def test_a_missing_library_is_told_with_what_to_install(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    for name in ("encoders.sentences", "importing.sentence_directories"):
        monkeypatch.delitem(sys.modules, f"model_export.{name}")
    said = refused(work, capsys, SENTENCES)
    assert "needs the package 'sentence_transformers': install twinserve[import]" in said
