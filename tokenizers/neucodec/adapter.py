"""The convolutions between semantic features and the codec. Shape letters: B batch, T frames."""

from __future__ import annotations

from torch import Tensor, nn


class Adapter(nn.Module):
    """Maps frames [B, T, in_width] to [B, T, out_width] by four convolutions over three frames each."""

    def __init__(self, in_width: int, mid_width: int, out_width: int):
        super().__init__()
        self.conv_in = nn.Conv1d(in_width, mid_width, 3, padding=1, bias=False)
        self.conv_mid1 = nn.Conv1d(mid_width, mid_width, 3, padding=1)
        self.conv_mid2 = nn.Conv1d(mid_width, mid_width, 3, padding=1)
        self.conv_out = nn.Conv1d(mid_width, out_width, 3, padding=1, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        # the skip carries the rectified tensor: upstream's first ReLU works in place, and the weights were trained so
        x = self.conv_in(frames.mT).relu()
        out: Tensor = self.conv_out(x + self.conv_mid2(self.conv_mid1(x).relu())).mT
        return out
