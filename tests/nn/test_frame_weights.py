"""The frame-weight head starts from uniform weights, whatever initialises the model around it."""

import inspect
import re

import pytest
import torch
from torch import nn

from espnet_ottc.nn.frame_weights import FrameWeightHead

WIDTH = 8


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, WIDTH)
        self.head = FrameWeightHead(WIDTH)


def is_uniform(head: FrameWeightHead) -> bool:
    return bool((head(torch.randn(2, 5, WIDTH)) == 0).all())


def test_every_init_of_espnet_leaves_the_start_uniform():
    initialize = pytest.importorskip("espnet2.torch_utils.initialize").initialize
    names = re.findall(r'init == "(\w+)"', inspect.getsource(initialize))  # other releases, others
    assert {"xavier_uniform", "kaiming_normal"} <= set(names)
    for name in names:
        model = Model()
        before = model.head.hidden.weight.clone()
        initialize(model, name)
        assert is_uniform(model.head), name
        assert not torch.equal(before, model.head.hidden.weight)  # the rest was initialised


def xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def over_parameters(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.orthogonal_(parameter)


@pytest.mark.parametrize("initialise", [lambda model: model.apply(xavier), over_parameters])
def test_common_ways_to_initialise_leave_the_start_uniform(initialise):
    model = Model()
    initialise(model)
    assert is_uniform(model.head)


def test_reset_parameters_goes_back_to_the_start():
    head = FrameWeightHead(WIDTH)
    nn.init.normal_(head.output.bias)
    assert not is_uniform(head)
    head.output.reset_parameters()
    assert is_uniform(head)


def test_weights_of_transformers_leave_the_start_uniform_and_come_back(tmp_path):
    transformers = pytest.importorskip("transformers")

    class Config(transformers.PretrainedConfig):
        model_type = "frame_weights"

    class Base(transformers.PreTrainedModel):
        config_class = Config
        base_model_prefix = "encoder"

        def __init__(self, config) -> None:
            super().__init__(config)
            self.encoder = nn.Linear(3, WIDTH)
            self.post_init()

        def forward(self, inputs):
            return self.encoder(inputs)

    class WithHead(Base):
        def __init__(self, config) -> None:
            super().__init__(config)
            self.head = FrameWeightHead(WIDTH)
            self.post_init()

    model = WithHead(Config())
    assert is_uniform(model.head)
    Base(Config()).save_pretrained(tmp_path / "encoder")
    loaded = WithHead.from_pretrained(tmp_path / "encoder")  # the head's parameters are missing
    assert is_uniform(loaded.head)
    with torch.no_grad():
        loaded.head.output.bias.fill_(0.5)
    loaded.save_pretrained(tmp_path / "trained")
    again = WithHead.from_pretrained(tmp_path / "trained")
    assert torch.equal(again.head.output.bias, loaded.head.output.bias)
    hidden = torch.randn(1, 4, WIDTH)
    torch.testing.assert_close(again.head(hidden), loaded.head.eval()(hidden))


def test_parameters_of_version_0_1_are_loaded():
    head = FrameWeightHead(WIDTH).eval()
    row = torch.randn(1, WIDTH)
    state = {"output.weight": row, **FrameWeightHead(WIDTH).state_dict()}
    del state["output.bias"]
    head.load_state_dict(state)
    hidden = torch.randn(1, 4, WIDTH)
    expected = head.activation(head.hidden(hidden)) @ row[0]
    torch.testing.assert_close(head(hidden), expected)
    assert "output.weight" in state  # the caller's own is not changed
