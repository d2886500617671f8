"""Mixup and CutMix: one mixture for a batch with all its rates, and labels to match."""

import numpy as np
import pytest
import torch

from slowfast.config import get_cfg
from slowfast.datasets.batch import Batch
from slowfast.datasets.mixing import Mixing, build_mixing, cut_out

CLASSES, SIZE = 5, 24
LABELS = torch.tensor([0, 3, 1, 3])


def batch_of(*num_frames: int, size: int = SIZE) -> Batch:
    """Every video has one value: its own number, 1 to 4."""
    values = torch.arange(1.0, 5).view(4, 1, 1, 1, 1)
    clips = tuple(values.expand(4, 3, t, size, size).clone() for t in num_frames)
    return Batch(clips, LABELS, torch.arange(4))


MIXUP = Mixing(CLASSES, alpha=0.8, cutmix_alpha=0.0, smoothing=0.0)
CUTMIX = Mixing(CLASSES, alpha=0.0, cutmix_alpha=1.0, smoothing=0.0)
BOTH = Mixing(CLASSES, seed=7)


def test_mixup_has_one_share_for_all_videos_rates_and_frames():
    for step in range(20):
        share = MIXUP.draw(0, step, (SIZE, SIZE)).share
        mixed = MIXUP(batch_of(2, 4, 8), 0, step)
        for clip in mixed.clips:
            for i in range(4):
                expected = share * (i + 1) + (1 - share) * (4 - i)
                torch.testing.assert_close(clip[i], torch.full_like(clip[i], expected))


def test_cutmix_pastes_one_rectangle_of_the_partner_in_all_rates_and_frames():
    for step in range(20):
        mix = CUTMIX.draw(0, step, (SIZE, SIZE))
        top, bottom, left, right = mix.box
        mixed = CUTMIX(batch_of(2, 4), 0, step)
        pasted = torch.zeros(SIZE, SIZE, dtype=torch.bool)
        pasted[top:bottom, left:right] = True
        for clip in mixed.clips:
            for i in range(4):
                assert (clip[i][..., pasted] == 4 - i).all()
                assert (clip[i][..., ~pasted] == i + 1).all()
        assert mix.share == pytest.approx(1 - pasted.float().mean().item())


@pytest.mark.parametrize("mixing", [MIXUP, CUTMIX, BOTH], ids=["mixup", "cutmix", "both"])
def test_labels_are_mixed_like_the_videos_and_sum_to_one(mixing):
    for step in range(20):
        mixed = mixing(batch_of(4), 1, step)
        share = mixing.draw(1, step, (SIZE, SIZE)).share
        assert mixed.labels.shape == (4, CLASSES)
        torch.testing.assert_close(mixed.labels.sum(1), torch.ones(4))
        off = mixing.smoothing / CLASSES
        for i in range(4):
            expected = np.full(CLASSES, off)
            expected[LABELS[i]] += share * (1 - mixing.smoothing)
            expected[LABELS[3 - i]] += (1 - share) * (1 - mixing.smoothing)
            np.testing.assert_allclose(mixed.labels[i], expected, rtol=1e-5)


def test_what_the_labels_say_is_what_the_pixels_are():
    mixed = BOTH(batch_of(4), 0, 3)
    share = BOTH.draw(0, 3, (SIZE, SIZE)).share
    assert mixed.clips[0][0].mean().item() == pytest.approx(share * 1 + (1 - share) * 4, rel=1e-4)


def test_a_step_mixes_by_its_number_alone():
    again = Mixing(CLASSES, seed=7)
    torch.manual_seed(123)
    np.random.seed(5)
    assert BOTH.draw(2, 9, (SIZE, SIZE)) == again.draw(2, 9, (SIZE, SIZE))
    draws = {BOTH.draw(epoch, step, (SIZE, SIZE)) for epoch in range(3) for step in range(30)}
    assert len(draws) == 90
    assert BOTH.draw(0, 1, (SIZE, SIZE)) != Mixing(CLASSES, seed=8).draw(0, 1, (SIZE, SIZE))


def test_half_of_the_mixtures_are_cutmix_and_shares_follow_their_strengths():
    draws = [BOTH.draw(0, step, (SIZE, SIZE)) for step in range(2000)]
    cut = [mix for mix in draws if mix.box is not None]
    assert len(cut) == pytest.approx(1000, abs=80)
    shares = [mix.share for mix in draws if mix.box is None]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.8 + 1)), rel=0.1)  # Beta(0.8, 0.8)


def test_unmixed_batches_keep_their_pixels_and_get_smoothed_labels():
    mixing = Mixing(CLASSES, prob=0.0)
    before, after = batch_of(2, 4), mixing(batch_of(2, 4), 0, 0)
    assert all(map(torch.equal, before.clips, after.clips))
    assert after.labels[0].tolist() == pytest.approx([0.92, 0.02, 0.02, 0.02, 0.02])
    kept = [Mixing(CLASSES, prob=0.3).draw(0, s, (SIZE, SIZE)).share == 1 for s in range(500)]
    assert sum(kept) == pytest.approx(350, abs=40)


def test_rectangles_are_cut_off_at_the_frame_and_their_share_is_corrected():
    for seed in range(200):
        mix = cut_out(0.3, (20, 30), np.random.default_rng(seed))
        top, bottom, left, right = mix.box
        assert 0 <= top <= bottom <= 20 and 0 <= left <= right <= 30
        assert mix.share == pytest.approx(1 - (bottom - top) * (right - left) / 600)
        assert mix.share >= 0.3 - 1e-9


def test_a_rate_of_another_size_gets_the_same_place():
    small, large = batch_of(2, size=12), batch_of(4)
    mixed = CUTMIX(Batch((*small.clips, *large.clips), LABELS, torch.arange(4)), 0, 5)
    low = (mixed.clips[0][0, 0, 0] == 4).float()
    high = (mixed.clips[1][0, 0, 0] == 4).float()
    halved = torch.nn.functional.avg_pool2d(high[None, None], 2)[0, 0]
    assert ((low - halved).abs() <= 0.75).all()
    assert (low.mean() - high.mean()).abs() < 0.1


def test_weights_of_several_labels_are_mixed_as_they_are():
    labels = torch.eye(4, CLASSES) + torch.eye(4, CLASSES).roll(1, 1)
    batch = batch_of(4)
    mixed = BOTH(Batch(batch.clips, labels, batch.index), 0, 2)
    share = BOTH.draw(0, 2, (SIZE, SIZE)).share
    torch.testing.assert_close(mixed.labels, share * labels + (1 - share) * labels.flip(0))


def test_mixing_of_no_strength_is_refused():
    with pytest.raises(ValueError, match="both 0; set MIXUP.ENABLE False"):
        Mixing(CLASSES, alpha=0.0, cutmix_alpha=0.0)


def test_mixing_is_built_only_where_it_is_enabled():
    cfg = get_cfg()
    assert build_mixing(cfg) is None
    cfg.MIXUP.ENABLE, cfg.MIXUP.SWITCH_PROB, cfg.RNG_SEED = True, 0.25, 3
    assert build_mixing(cfg) == Mixing(400, 0.8, 1.0, 1.0, 0.25, 0.1, seed=3)
