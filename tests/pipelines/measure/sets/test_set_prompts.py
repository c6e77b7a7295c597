import json
from pathlib import Path

import numpy as np
import pytest
import torch
from compared_sets import Tagger, Texts, deltas, embeddings_of, figures, run, values

from latentune.pipelines.measure.metrics import (
    frechet_per_file,
    paired_kl,
)


def test_prompts_come_from_the_manifest_or_beside_the_samples(sets: tuple[Path, Path, Path]) -> None:
    from latentune.pipelines.measure.sets.sources import open_source
    from latentune.pipelines.measure.sets.texts import find_texts

    rows = [{"path": f"{number}.wav", "text": f"sound {number}"} for number in range(3)]
    (sets[1] / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert find_texts(open_source(str(sets[1] / "list.jsonl")).items, "text")[2] == "sound 2"
    (sets[1] / "0.json").write_text(json.dumps({"prompt": "a bell"}))
    (sets[1] / "1.json").write_text("no json")
    (sets[1] / "2.json").write_text(json.dumps(["a list"]))
    (sets[1] / "3.json").write_text(json.dumps({"prompt": "  "}))
    assert find_texts(open_source(str(sets[1])).items, "text") == {0: "a bell"}


def test_the_clap_score_pairs_prompts_and_files(sets: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import latentune.pipelines.evaluate as library

    class Clap(Tagger):
        name = "clap"

    monkeypatch.setattr(library, "load_text_encoder", lambda *given: Texts())
    for number in range(3):
        (sets[1] / f"{number}.json").write_text(json.dumps({"prompt": str(number)}))
    embedder = Clap()
    result = run(*sets, embedder=embedder, metrics=("clap-score",))
    files = list(embeddings_of(sets[1]).values())
    expected = [(file[:, n] / np.linalg.norm(file, axis=1)).mean() for n, file in enumerate(files[:3])]
    figure = figures(result)["clap_score_clap"]
    assert figure.value == pytest.approx(np.mean(expected), rel=1e-5)
    assert figure.details["without_prompt"] == 5
    assert figure.details["num_negatives"] == 3
    assert "needs prompts" in figures(result, 1)["clap_score_clap"].note


def test_rows_that_name_one_file_with_several_prompts_all_count(
    sets: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import latentune.pipelines.evaluate as library

    monkeypatch.setattr(library, "load_text_encoder", lambda *given: Texts())
    embedder = Tagger()
    embedder.name = "clap"  # for the CLAP score
    rows = [(0, "0"), (1, "1"), (0, "2"), (2, "3"), (0, "1")]
    manifest = sets[1] / "list.jsonl"
    manifest.write_text("".join(json.dumps({"path": f"{file}.wav", "text": text}) + "\n" for file, text in rows))
    metrics = ("clap-score", "fad-per-file", "kl", "audio-similarity")
    result = run(sets[0], manifest, sets[1], embedder=embedder, metrics=metrics)
    assert result.systems["list.jsonl"]["summary"]["num_files"] == 5
    files = [embeddings_of(folder) for folder in sets[:2]]
    made = [files[1][f"{file}.wav"] for file, _ in rows]
    expected = {
        "clap_score_clap": [
            (file[:, int(text)] / np.linalg.norm(file, axis=1)).mean()
            for file, (_, text) in zip(made, rows, strict=True)
        ],
        "fad_per_file_clap": frechet_per_file(np.concatenate(list(files[0].values())), made),
        "kl_clap": paired_kl(
            *(
                [Tagger().posteriors_of(torch.from_numpy(side[f"{file}.wav"])).numpy() for file, _ in rows]
                for side in files
            ),
            multilabel=True,
        ),
    }
    for name, each in expected.items():
        assert figures(result)[name].value == pytest.approx(np.mean(each), rel=1e-4), name
        assert figures(result)[name].low is not None, "five rows"
    assert figures(result)["clap_score_clap"].details["without_prompt"] == 0
    assert values(result, 1)["clap_score_clap"] is None, "it has no prompts"
    assert not any(delta.paired for delta in deltas(result).values()), "the rows are not of the same files, one by one"
    assert not any(line.startswith("kl: ") and "of list" in line for line in result.warnings), "none is left out"
