"""YAML files into config dataclasses: includes, overrides, and mistakes."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from latentune.core.errors import ConfigError
from latentune.core.settings import load_config, load_settings, parse_overrides, save_config, shipped_configs
from latentune.pipelines.train import TrainConfig, train_config


@dataclass(frozen=True, kw_only=True)
class Inner:
    class_name: str
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner
    rate: float = 1.0
    names: tuple[str, ...] = ()
    free: dict[str, int] = field(default_factory=dict)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "part.yaml").write_text("class: A\nsize: 3\n")
    (tmp_path / "base.yaml").write_text("inner: {include: sub/part}\nrate: 1e-4\nfree: {a: 1, b: 2}\n")
    (tmp_path / "top.yaml").write_text("include: base.yaml\ninner: {size: 4}\nfree: {b: 3}\n")
    return tmp_path


def test_a_mapping_is_laid_over_what_it_includes_at_any_depth(folder: Path) -> None:
    config = load_config(Outer, folder / "top.yaml")
    assert config == Outer(inner=Inner(class_name="A", size=4), rate=1e-4, free={"a": 1, "b": 3})


def test_overrides_win_over_files_and_later_ones_over_earlier_ones(folder: Path) -> None:
    overrides = ["inner.size=5", "names=[x,y]", "inner.size=6", "free.c=7", "rate=2"]
    config = load_config(Outer, folder / "top", overrides)
    assert (config.inner.size, config.names, config.free, config.rate) == (6, ("x", "y"), {"a": 1, "b": 3, "c": 7}, 2.0)


def test_an_override_may_change_what_is_included(folder: Path) -> None:
    (folder / "sub" / "other.yaml").write_text("class: B\n")
    config = load_config(Outer, folder / "top.yaml", [f"inner.include={folder / 'sub' / 'other'}"])
    assert config.inner == Inner(class_name="B", size=4)


def test_a_reference_follows_an_override(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("inner: {class: A, size: '${free.n}'}\nfree: {n: 1}\n")
    assert load_config(Outer, tmp_path / "c.yaml", ["free.n=9"]).inner.size == 9


def test_a_saved_config_reads_back_the_same(folder: Path) -> None:
    config = load_config(Outer, folder / "top.yaml")
    save_config(config, folder / "saved.yaml")
    assert "class: A" in (folder / "saved.yaml").read_text()
    assert load_config(Outer, folder / "saved.yaml") == config


def test_without_a_file_the_overrides_are_all() -> None:
    assert load_config(Outer, None, ["inner.class=A"]).inner == Inner(class_name="A")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["inner.sise=1"], "inner.sise: did you mean 'size'"),
        (["raet=1"], "raet: did you mean 'rate'"),
        (["inner.size=big"], "inner.size: expected int"),
        (["rate"], "'rate' is not key=value"),
        (["=1"], "not key=value"),
        (["rate={"], "override cannot be read"),
        (["rate=${nowhere}"], "nowhere"),
        (["names=3"], "names: expected a list"),
    ],
)
def test_a_wrong_override_is_refused(folder: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", "\\(")) as caught:
        load_config(Outer, folder / "top.yaml", overrides)
    assert "\n" not in str(caught.value)


LITERALS = ["${oc.env:HOME}", "${rate}", "${", "???", "a \\${b}", "${nowhere}"]


@pytest.mark.parametrize("text", LITERALS)
def test_a_given_value_is_never_interpolated(tmp_path: Path, text: str) -> None:
    given = {"inner": {"class_name": text}, "names": (text, "b")}
    config = load_config(Outer, None, given=given)
    assert (config.inner.class_name, config.names) == (text, (text, "b"))
    assert load_config(Outer, None, [f"inner.class={text}"]).inner.class_name == text
    (tmp_path / "c.yaml").write_text("inner: {class: '${names.0}'}\nnames: [x]\n")
    assert load_config(Outer, tmp_path / "c.yaml", given={"names": [text]}).inner.class_name == text


@pytest.mark.parametrize("text", [text for text in LITERALS if text != "???"])
def test_a_saved_value_is_not_interpolated_when_it_is_read(tmp_path: Path, text: str) -> None:
    config = Outer(inner=Inner(class_name=text), names=(f"x{text}y",))
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(Outer, tmp_path / "saved.yaml") == config


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "at ${oc.env:HOME} or", "${oc.decode:${names}}", "${ours:1}"])
def test_a_resolver_in_a_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "part.yaml").write_text(f"class: '{text}'\n")
    (tmp_path / "c.yaml").write_text("inner: {include: part}\n")
    with pytest.raises(ConfigError, match=r"part\.yaml, key class: .* calls a resolver"):
        load_config(Outer, tmp_path / "c.yaml")


def test_numbers_and_dates_are_read_as_yaml_1_2_has_them(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("inner: {class: 2026-01-02}\nfree: {a: 1e3, b: -1.5E-2, c: 1}\n")
    values = load_settings(tmp_path / "c.yaml", ["free.d=2e-4", "free.e=1e", "free.f=2026-01-02"])
    assert values["inner"] == {"class_name": "2026-01-02"}
    assert values["free"] == {"a": 1000.0, "b": -0.015, "c": 1, "d": 2e-4, "e": "1e", "f": "2026-01-02"}


def test_a_key_that_appears_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("rate: 1\nrate: 2\n")
    with pytest.raises(ConfigError, match="key rate appears twice"):
        load_settings(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inner: [", "is not YAML"),
        ("- 1\n", "must hold a mapping"),
        ("include: nowhere/at-all\n", "no config 'nowhere/at-all'"),
        ("include: 3\n", "include takes the name"),
        ("include: self\n", "circle"),
        ("inner: ???\n", "leaves inner open"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "self.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(Outer, tmp_path / "self.yaml")


def test_an_unknown_name_is_answered_with_the_nearest_shipped_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'train/codicodec-mini'"):
        load_settings("train/codicodec-mimi")


def test_overrides_are_parsed_as_yaml() -> None:
    parsed = parse_overrides(["a.b=null", "a.c=true", "d={e: [1, 2]}", "f=text=more"])
    assert parsed == {"a": {"b": None, "c": True}, "d": {"e": [1, 2]}, "f": "text=more"}


def load_filled(name: str) -> dict[str, Any]:
    """A shipped config with `somewhere` in all that it leaves open."""
    overrides: list[str] = []
    while True:
        try:
            return load_settings(name, overrides)
        except ConfigError as error:
            open_key = re.search(r"leaves (\S+) open", str(error))
            if open_key is None:
                raise
        known = {"model.init_from": "melcodec-music-dit"}  # the class and the config are read from it
        overrides.append(f"{open_key[1]}={known.get(open_key[1], 'somewhere')}")


@pytest.mark.parametrize("name", shipped_configs("train/"))
def test_every_shipped_training_config_loads_and_survives_saving(name: str, tmp_path: Path) -> None:
    config = train_config(load_filled(name))
    assert isinstance(config, TrainConfig)
    assert config.data.source == "somewhere"
    save_config(config, tmp_path / "saved.yaml")
    assert train_config(load_settings(tmp_path / "saved.yaml")) == config


def test_every_shipped_training_config_is_found() -> None:
    names = shipped_configs("train/")
    assert {"train/codicodec-mini", "train/codicodec-tiny", "train/dit-tiny", "train/lm-tiny"} <= set(names)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.sorce=x", "data.sorce: did you mean 'source'"),
        ("model.class=CoDiCodek", "did you mean 'CoDiCodec'"),
        ("data.crop_s=3", "data.crop_s"),
        ("stepz=3", "did you mean 'steps'"),
        ("steps=0", "steps must be at least 1"),
        ("optimizer.name=sgd", "allowed: 'adamw', 'radam', 'muon'"),
        ("grad_accum=3", "not a multiple of grad_accum"),
        ("data.weights={a: 1}", "without the weight_column"),
        ("data.gain_db=[1, 0]", "lowest, highest"),
        ("ema_decay=1", "ema_decay"),
    ],
)
def test_a_wrong_key_of_a_training_config_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train_config(load_settings("train/codicodec-tiny", ["data.source=x", override]))


def test_an_open_value_has_to_be_given() -> None:
    with pytest.raises(ConfigError, match=r"leaves data\.source open"):
        load_settings("train/codicodec-tiny")
