"""The perceptron that every network of a boundary model has."""

from torch import nn

from espnet_ottc.alignment.boundary.config import BoundaryConfig


def perceptron(config: BoundaryConfig, inputs: int, outputs: int) -> nn.Sequential:
    """Hidden layers with batch normalisation, then a linear one.

    Args:
        config: width, layers, dropout.
        inputs: numbers of a frame.
        outputs: numbers that it becomes.
    """
    layers: list[nn.Module] = []
    for _ in range(config.layers):
        layers += [nn.Linear(inputs, config.width), nn.ReLU(), nn.BatchNorm1d(config.width)]
        if config.dropout:
            layers.append(nn.Dropout(config.dropout))
        inputs = config.width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
