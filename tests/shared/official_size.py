"""How many parameters the official class has where ours has fewer."""

from torch import nn

from latentune.tokenizers.taae.blocks import FrameConv, FrameTransposedConv


def official_parameter_count(codec: nn.Module) -> int:
    """Parameters of Stable Codec's official class of this size.

    It keeps each convolution as direction and gain (weight norm), so there is one gain more for each slice of a weight
    along axis 0; all else is the same.
    """
    convolutions = (m for m in codec.modules() if isinstance(m, (FrameConv, FrameTransposedConv)))
    return sum(p.numel() for p in codec.parameters()) + sum(len(conv.weight) for conv in convolutions)
