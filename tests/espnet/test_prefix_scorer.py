"""ESPnet's beam searches with OTTC's prefix scores."""

import pytest
import torch

from espnet_ottc.espnet.criteria.options import OTTCOptions
from espnet_ottc.espnet.criteria.ottc import OTTC
from espnet_ottc.espnet.decoding.prefix_scorer import OTTCPrefixScorer
from espnet_ottc.espnet.moved import BatchBeamSearch, BeamSearch, LengthBonus

D = 12
TOKENS = ["<blank>", "<unk>", "<space>", "A", "B", "C", "<sos/eos>"]
EOS = len(TOKENS) - 1
SEARCHES = [BeamSearch, BatchBeamSearch]


@pytest.fixture
def criterion():
    torch.manual_seed(0)
    criterion = OTTC(len(TOKENS), D, OTTCOptions(boundary_label=2), reduce=False)
    torch.nn.init.normal_(criterion.frame_head.output.bias)
    torch.nn.init.normal_(criterion.ctc_lo.weight, std=0.5)
    return criterion.eval()


def _best(search, criterion, hidden, beam, bonus=0.0):
    scorers = {"ctc": OTTCPrefixScorer(criterion, EOS), "bonus": LengthBonus(len(TOKENS))}
    found = search(
        beam_size=beam,
        vocab_size=len(TOKENS),
        weights={"ctc": 1.0, "bonus": bonus},
        scorers=scorers,
        sos=EOS,
        eos=EOS,
        token_list=TOKENS,
        pre_beam_score_key=None,
    )
    best = found(hidden)[0]
    return best.yseq.tolist()[1:-1], float(best.score)


def _negative_loss(criterion, hidden, labels):
    targets, lengths = torch.tensor([labels]), torch.tensor([len(labels)])
    return -criterion(hidden[None], torch.tensor([len(hidden)]), targets, lengths).item()


@pytest.mark.parametrize("search", SEARCHES)
def test_the_score_of_a_hypothesis_is_its_negative_loss_and_no_wider_beam_finds_a_better(
    search, criterion
):
    for seed in range(5):
        hidden = torch.randn(25, D, generator=torch.Generator().manual_seed(seed))
        labels, score = _best(search, criterion, hidden, beam=1)
        assert score == pytest.approx(_negative_loss(criterion, hidden, labels), rel=1e-4)
        assert _best(search, criterion, hidden, beam=5) == (labels, pytest.approx(score, rel=1e-4))
        greedy, count = criterion.greedy(hidden[None], torch.tensor([25]))
        read_off = greedy[0, : count[0]].tolist()
        assert score >= _negative_loss(criterion, hidden, read_off) - 1e-3


def test_both_searches_find_the_same_and_heed_other_scorers(criterion):
    hidden = torch.randn(30, D, generator=torch.Generator().manual_seed(1))
    lengths = []
    for bonus in (-20.0, 0.0, 20.0):
        one, other = (_best(search, criterion, hidden, 4, bonus) for search in SEARCHES)
        assert one == (other[0], pytest.approx(other[1], rel=1e-4))
        lengths.append(len(one[0]))
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]
