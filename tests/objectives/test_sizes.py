from types import SimpleNamespace

import pytest
import torch

from helpers.foreign_net import ForeignNet, perturb
from slowfast.models.flexible import FrameFlexible, sized
from slowfast.objectives import cross_entropy, distillation_kl
from slowfast.objectives.ffn import FrameFlexibleTraining

COUNTS, SIZES = (2, 4), (8, 16)
LABELS = torch.tensor([0, 3, 1, 3])


def flexible() -> FrameFlexible:
    torch.manual_seed(0)
    return perturb(FrameFlexible(ForeignNet(), COUNTS, sizes=SIZES)).double().train()


def batch() -> SimpleNamespace:
    torch.manual_seed(1)
    clips = tuple(torch.randn(4, 3, t, 16, 16, dtype=torch.float64) for t in COUNTS)
    return SimpleNamespace(clips=clips, labels=LABELS)


def gradients(model, objective):
    model.zero_grad()
    for term in objective(model, batch()):
        term.loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def test_the_dearest_pair_teaches_all_others():
    model = flexible()
    terms = list(FrameFlexibleTraining(weight=2.0, sizes=SIZES)(model, batch()))
    logits = {rate: model(clip).detach() for rate, clip in sized(batch().clips, SIZES).items()}
    *others, dearest = logits.values()
    assert [*terms[0].parts] == ["ce_4x16"]
    torch.testing.assert_close(terms[0].loss, cross_entropy(dearest, LABELS))
    names = [name for term in terms[1:] for name in term.parts]
    assert names == ["kl_2x16", "kl_4x8", "kl_2x8"]
    for term, student in zip(terms[1:], reversed(others), strict=True):
        expected = 2.0 * distillation_kl(student, dearest, 1.0)
        torch.testing.assert_close(term.loss.detach(), expected)


@pytest.mark.parametrize("distill", ["teacher", "labels"])
def test_pair_after_pair_and_all_at_once_give_the_same_gradient(distill):
    one = gradients(flexible(), FrameFlexibleTraining(distill=distill, sizes=SIZES))
    joint = FrameFlexibleTraining(distill=distill, sizes=SIZES, backward="joint")
    torch.testing.assert_close(gradients(flexible(), joint), one)


def test_there_are_as_many_terms_as_pairs():
    objective = FrameFlexibleTraining(sizes=SIZES)
    assert objective.num_terms(batch()) == len(list(objective(flexible(), batch()))) == 4
