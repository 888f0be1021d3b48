"""``python -m train sequences``: frames in their order, networks with and without a memory."""

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from streammat.engines.network.checkpoint import load_network, save_network
from streammat.engines.network.gfm import GFM
from streammat.train.cli import main
from streammat.train.evaluation.peers.sequences import list_sequences, our_matting, score_sequence
from streammat.train.loop.memory import draw_previous


@pytest.fixture
def walk(tmp_path):
    """A bright disc that walks over four frames, with masks."""
    for kind in ("img", "mask"):
        (tmp_path / "data/walk" / kind).mkdir(parents=True)
    for number in range(4):
        mask = cv2.circle(np.zeros((64, 96), np.uint8), (30 + 8 * number, 32), 16, 255, -1)
        cv2.imwrite(str(tmp_path / f"data/walk/mask/{number:02}.png"), mask)
        cv2.imwrite(str(tmp_path / f"data/walk/img/{number:02}.png"), cv2.merge([mask // 2 + 60] * 3))
    return tmp_path


def network(*, memory):
    torch.manual_seed(5)
    made = GFM("lite", memory=memory).eval()
    if memory:
        torch.nn.init.normal_(made.memory.weight)
    return made


def test_table_and_videos(walk):
    save_network(network(memory=True), walk / "own.safetensors")
    asked = ["sequences", str(walk / "own.safetensors"), "--data", str(walk / "data"), "--threads", "1", "--out", str(walk / "t.md"), "--show", str(walk / "shown")]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    text = (walk / "t.md").read_text()
    assert "| own | own, memory |" in text
    assert text.count("| 4 |") == 2  # the sequence's own line, and the mean's
    shown = cv2.VideoCapture(str(walk / "shown/walk.mp4"))
    assert shown.read()[1].shape == (64, 3 * 96, 3)


def test_no_sequences_are_one_line(tmp_path):
    save_network(network(memory=False), tmp_path / "own.safetensors")
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(main, ["sequences", str(tmp_path / "own.safetensors"), "--data", str(tmp_path / "empty")])
    assert done.exit_code != 0
    assert "expected <sequence>/img" in done.output


def test_a_memory_sees_the_frame_before(walk):
    frames = [cv2.imread(str(pair.image)) for pair in list_sequences(walk / "data")["walk"]]
    remembering = network(memory=True)
    apart, joined = (our_matting(remembering, remembers=remembers, pixels=64 * 96)(frames) for remembers in (False, True))
    assert np.array_equal(apart[0], joined[0])  # nothing was before the first
    assert not np.array_equal(apart[1], joined[1])


def test_a_new_memory_changes_nothing(tmp_path):
    plain = network(memory=False)
    fresh = GFM("lite", memory=True).eval()
    fresh.load_state_dict(plain.state_dict() | {"memory.weight": fresh.memory.weight})
    save_network(fresh, tmp_path / "memory.safetensors")
    kept = load_network(tmp_path / "memory.safetensors")
    image = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        expected = plain.predict(image).alpha
        assert torch.equal(kept.predict(image, torch.ones(1, 1, 32, 48)).alpha, expected)
    assert kept.memory is not None


def test_scores_of_a_sequence():
    label = [np.zeros((8, 8), np.float32), np.zeros((8, 8), np.float32)]
    for plane in label:
        plane[:, :4] = 1
    lost = [label[0], np.zeros((8, 8), np.float32)]
    score = score_sequence("n", "s", lost, label)
    assert (score.frames, score.iou, score.found, score.jump) == (2, 0.5, 0.5, 1.0)
    assert score.mad == pytest.approx(0.25)
    assert score.dtssd == pytest.approx(100 * np.sqrt(0.5))


def test_what_training_gives_for_the_frame_before():
    image, alpha = torch.rand(64, 3, 32, 48) * 255, torch.zeros(64, 1, 16, 24)
    alpha[:, :, 4:12, 4:12] = 1
    asked = []

    def own(view, before):
        asked.append(len(view))
        return torch.full_like(before, 0.5)

    drawn = [draw_previous(own, image, alpha, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    made = (drawn[0] == 0.5).flatten(1).all(1)
    empty = (drawn[0] == 0).flatten(1).all(1)
    assert int(made.sum()) == asked[0]
    assert 0.3 < made.float().mean() < 0.7
    assert 0.2 < empty.float().mean() < 0.6
    assert (~made & ~empty).any()
