"""Presets: every row of the paper by name, and what they make of data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import make_am2k, make_backgrounds, make_p3m10k, make_plain

from streammat.train.config import TrainConfig
from streammat.train.data.samples import Key
from streammat.train.errors import DataError, RunError
from streammat.train.evaluation.paper.published import paper_rows
from streammat.train.loop.loop import make_network
from streammat.train.recipes.presets import METHODS, PAPER, configure, find_preset, presets
from streammat.train.recipes.tracks import DataFolders, open_images, open_samples, rssn_of
from streammat.train.rssn.compose_sample import Rssn


def test_every_combination_has_a_preset() -> None:
    names = presets()
    rows = [name for name, preset in names.items() if preset.track is not None and not preset.free]
    # 2 sets x 4 tracks x 4 networks x 4 RoSTas and 7 other methods; Table 4 for 2 networks: 4 parts taken away, 3 steps alone.
    assert len(rows) == 2 * 4 * (4 * 4 + 7) + 2 * 2 * (4 + 3)
    # Every row of the paper has one, but for SSS, the ensemble and the two networks of Table 3 in one.
    assert {row.name for row in paper_rows() if row.name and row.name not in names} == {
        "am2k-ori-sss", "pm10k-ori-sss", "am2k-en-median-d121", "am2k-glance-dim-d121",
    }  # fmt: skip
    for name in (
        "am2k-ori-r34-tt",
        "am2k-ori-d121-rim",
        "am2k-ori-r101-tt",
        "pm10k-ori-r34_2b-tt",
        "am2k-comp-rssn-r34-tt",
        "am2k-comp-coco-d121-tt",
        "pm10k-comp-bg20k-d121-ft",
        "am2k-ori-d121-tt-no-ppm",
        "am2k-comp-rssn-only-blur-d121-tt",
    ):
        assert names[name].name == names[name].config.preset == name
    assert set(names) - set(rows) == {"lite", "lite-second", "lite-third", "lite-fourth", "lite-steady", "lite-fifth", "lite-sixth", "lite-seventh", "lite-eighth", "lite-ninth", "lite-tenth", "folder"}
    assert names["lite"].config == TrainConfig()


def test_they_train_as_the_paper_says() -> None:
    for name, preset in presets().items():
        if preset.free:
            continue
        config = preset.config
        assert (config.optimizer, config.schedule, config.learning_rate) == ("adam", "constant", 1e-5), name
        assert (config.ema, config.clip, config.precision, config.weight_decay) == (0.0, None, "fp32", 0.0)
        assert config.sizes == ((320, 320, 1.0),)
        assert preset.epochs == (500 if "-ori-" in name else 100)
        assert config.pixels_per_batch == {"d121": 4, "r34": 32, "r34_2b": 8, "r101": 8, **METHODS}[config.network] * 320 * 320
        assert config.checkpointing == (config.network == "r101")
    assert PAPER.loss.level_growth == PAPER.loss.group_weight == 1.0


def test_every_network_of_a_preset_can_be_built() -> None:
    built = {replace(preset.config, preset="", pixels_per_batch=1) for preset in presets().values() if preset.config.network not in METHODS}
    with torch.device("meta"):
        networks = [make_network(config) for config in built]
    assert {(model.network, model.rosta) for model in networks} >= {
        (n, r) for n in ("r34", "d121", "r101") for r in ("TT", "RIM")
    }
    parts = {(model.ablation.single_decoder, model.ablation.ppm, model.ablation.bridge) for model in networks}
    assert parts == {
        (False, "all", True),
        (True, "all", True),
        (False, "one", True),
        (False, "none", True),
        (False, "all", False),
    }


def test_modern_changes_the_training_alone() -> None:
    preset, modern = find_preset("am2k-ori-d121-rim"), find_preset("am2k-ori-d121-rim-modern")
    assert modern.config.preset == modern.name == "am2k-ori-d121-rim-modern"
    assert (modern.track, modern.epochs) == (preset.track, preset.epochs)
    assert (modern.config.optimizer, modern.config.schedule, modern.config.precision) == ("adamw", "cosine", "bf16")
    assert modern.config.ema > 0
    same = ("network", "rosta", "sizes", "pixels_per_batch", "loss", "seed")
    assert all(getattr(modern.config, name) == getattr(preset.config, name) for name in same)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("am2k-ori-r34-t", "unknown preset 'am2k-ori-r34-t'; did you mean am2k-ori-r34-"),
        ("am2k-comp-rsn-d121-tt", "am2k-comp-rssn-d121-tt"),
        ("lite-modern", "unknown preset 'lite-modern'; did you mean lite"),
        ("zzz", "unknown preset 'zzz'; `python -m train train --list-presets` shows all"),
        ("", "unknown preset ''"),
        ("-modern", "unknown preset '-modern'"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(RunError) as error:
        find_preset(name)
    assert message in str(error.value)


def test_networks_can_be_chosen_where_the_name_leaves_it() -> None:
    folder = find_preset("folder", "r34", "RIM")
    assert (folder.config.network, folder.config.rosta) == ("r34", "RIM")
    assert folder.config.pixels_per_batch == 32 * 320 * 320
    assert find_preset("folder").config.network == "lite"
    assert find_preset("folder", "r101").config.checkpointing
    lite = find_preset("lite", None, "BT").config
    assert lite == replace(TrainConfig(), rosta="BT")
    with pytest.raises(RunError, match="am2k-ori-r34-tt has network r34 and RoSTa TT; choose another preset"):
        find_preset("am2k-ori-r34-tt", "d121")


def test_steps_follow_from_epochs() -> None:
    preset = find_preset("am2k-ori-r34-tt")
    assert configure(preset, 1800).steps == 500 * 1800 // 32
    assert configure(preset, 1800, epochs=2, batch=4).steps == 2 * 1800 // 4
    assert configure(preset, 1800, steps=7).steps == 7
    assert configure(preset, 3, epochs=1).steps == 1
    assert configure(find_preset("lite")).steps == TrainConfig.steps


def test_options_override_the_preset() -> None:
    config = configure(find_preset("am2k-ori-r34-tt"), 10, batch=2, crop=64, seed=3, precision="bf16", workers=None)
    assert (config.sizes, config.pixels_per_batch) == (((64, 64, 1.0),), 2 * 64 * 64)
    assert (config.seed, config.precision, config.workers) == (3, "bf16", TrainConfig.workers)
    kept = configure(find_preset("am2k-ori-r34-tt"), 10, crop=64)
    assert kept.pixels_per_batch == 32 * 64 * 64
    assert configure(find_preset("lite"), batch=4).pixels_per_batch == 4 * 256 * 256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 1, "epochs": 1}, "both --steps and --epochs"),
        ({"crop": 100}, "crop 100 does not fit the network; expected a multiple of 32"),
        ({"batch": 1}, "a batch of 1 is too small"),
    ],
)
def test_options_that_contradict(options: dict[str, int], message: str) -> None:
    with pytest.raises(RunError, match=message):
        configure(find_preset("am2k-ori-r34-tt"), 10, **options)
    with pytest.raises(RunError, match="has no epochs; give --steps"):
        configure(find_preset("lite"), epochs=1)


def test_rssn_steps_of_the_tracks() -> None:
    def chances(name: str) -> tuple[float, float, float]:
        track = find_preset(name).track
        assert track is not None
        rssn = rssn_of(track)
        assert (rssn.kernels, rssn.noise_sigma) == (Rssn.kernels, Rssn.noise_sigma)
        return rssn.denoise, rssn.blur, rssn.noise

    assert chances("am2k-comp-rssn-d121-tt") == (0.5, 0.5, 0.5)
    assert chances("am2k-comp-bg20k-d121-tt") == chances("am2k-comp-coco-d121-tt") == (0, 0, 0)
    assert chances("am2k-comp-rssn-only-denoise-d121-tt") == (0.5, 0, 0)
    assert chances("am2k-comp-rssn-only-blur-d121-tt") == (0, 0.5, 0)
    assert chances("am2k-comp-rssn-only-noise-r34-tt") == (0, 0, 0.5)


def samples_of(name: str, folders: DataFolders, **choice: str):
    preset = find_preset(name, **choice)
    images = open_images(preset, folders)
    return images, open_samples(preset, configure(preset, len(images)), images, folders)[0]


def test_original_tracks_read_both_sets_and_plain_folders(tmp_path: Path) -> None:
    am2k, p3m, plain = make_am2k(tmp_path / "a", 3), make_p3m10k(tmp_path / "p"), make_plain(tmp_path / "f", 2)
    for name, data, count, heads, side in (
        ("am2k-ori-r34-rim", am2k, 3, {"TT", "FT", "BT"}, 64),
        ("pm10k-ori-r34-ft", p3m, 2, {"FT"}, 64),
        ("folder", plain, 2, {"TT"}, 32),  # lite ends at half its input's size
    ):
        images, samples = samples_of(name, DataFolders(data))
        assert len(images) == count
        sample = samples[Key(0, 64, 64)]
        assert sample.rgb.shape == (64, 64, 3)
        assert {rosta: plane.shape for rosta, plane in sample.classes.items()} == dict.fromkeys(heads, (side, side))


def test_composed_tracks(tmp_path: Path) -> None:
    data = make_am2k(tmp_path / "a", 2, layers=True)
    folders = DataFolders(data, make_backgrounds(tmp_path / "b", denoised=True))
    plain, samples = samples_of("am2k-comp-bg20k-r34-tt", folders)
    assert len(plain) == 10  # five backgrounds for each foreground
    assert samples[Key(3, 64, 64)].contrast.max() > 50
    noisy, _ = samples_of("am2k-comp-rssn-only-noise-r34-tt", folders)
    pairs = [[images.load(index, np.random.default_rng(index)).rgb for images in (plain, noisy)] for index in range(6)]
    changed = [not np.array_equal(one, other) for one, other in pairs]
    assert True in changed
    assert False in changed
    samples_of("am2k-comp-rssn-r34-tt", folders)


def test_what_a_track_lacks_is_named(tmp_path: Path) -> None:
    bare = make_am2k(tmp_path / "a")
    with pytest.raises(RunError, match="give --backgrounds, the folder of COCO"):
        samples_of("am2k-comp-coco-r34-tt", DataFolders(bare))
    with pytest.raises(DataError, match="foreground colours"):
        samples_of("am2k-comp-coco-r34-tt", DataFolders(bare, make_backgrounds(tmp_path / "b")))
    with pytest.raises(DataError, match="no split 'train'"):
        samples_of("am2k-ori-r34-tt", DataFolders(tmp_path / "b"))
    lite = find_preset("lite")
    with pytest.raises(RunError, match="give --cache"):
        open_samples(lite, lite.config, None, DataFolders(bare))
