"""A reader that writes a line symbol by symbol, each time looking at the frames again (Transformer, Vaswani 2017)."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from semilla.contract import Output
from semilla.networks.conv_transformer import Attention, FrameTransformer, feed_forward, heads_of
from semilla.networks.line_encoder import STRIDE, sinusoids

Memory: TypeAlias = tuple[Tensor, Tensor]
"""Keys and values (B, heads, positions, size / heads)."""
END = 0
"""Symbol 0: the end of a string where it is predicted, its beginning where it is read."""


class AttentionReader(nn.Module):
    """A recogniser of text lines with an autoregressive decoder over the frames of `ConvTransformer`.

    Args:
        classes: symbols, the end among them.
        channels: 1 for grey pictures.
        height: of the pictures, 32 or 48 pixels; 16 at least.
        width: channels of the first convolution; features are six times as many. 32 is for a CPU (2.4 million
            weights), 64 for a GPU (9.5 million).
        layers: of self-attention over the frames.
        decoder_layers: of the decoder.
        depth: residual blocks at each resolution.
        longest: symbols of a reading at most; a line gets no more than it has frames either.

    Attributes:
        stride: columns of a frame, as the encoder sees them; outputs have a position for each symbol.
    """

    stride = STRIDE

    def __init__(
        self,
        classes: int,
        channels: int = 1,
        height: int = 32,
        width: int = 32,
        layers: int = 2,
        decoder_layers: int = 2,
        depth: int = 1,
        longest: int = 128,
    ) -> None:
        super().__init__()
        self.longest = longest
        self.encoder = FrameTransformer(channels, height, width, layers, depth)
        size = self.encoder.outputs
        self.embedding = nn.Embedding(classes, size)
        nn.init.normal_(self.embedding.weight, std=size**-0.5)
        self.decoder: Any = nn.ModuleList(_Layer(size) for _ in range(decoder_layers))
        self.norm = nn.LayerNorm(size)
        self.classifier = nn.Linear(size, classes)

    def forward(self, inputs: Tensor, width: Tensor | None = None, prefix: Tensor | None = None) -> Output:
        """Predict each symbol from the picture and the symbols before it.

        Args:
            inputs: (B, channels, height, W), normalised.
            width: (B,) valid columns; None where all are.
            prefix: int64 (B, L): 0, then symbols; position i is predicted from those up to i. Without it the network
                reads by itself, each time taking the likeliest symbol, and then predicts along its own reading.

        Returns:
            Logits (B, L, classes), features (B, L, 6 · width), and lengths (B,): of the reading and its end; where a
            prefix was given all of its positions count.
        """
        frames, lengths, valid = self.encoder(inputs, width)
        placed = frames + sinusoids(frames.shape[1], frames.shape[2], frames.device).to(frames.dtype)
        memories = [layer.look.memory(placed) for layer in self.decoder]
        symbols = torch.full((len(inputs),), 0 if prefix is None else prefix.shape[1], device=inputs.device)
        if prefix is None:
            prefix, symbols = self._read(memories, lengths, valid)
        features = self._decode(prefix, memories, valid, None)
        return Output(self.classifier(features), features, symbols)

    def _read(self, memories: list[Memory], lengths: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """The likeliest next symbol until every line has ended: the prefix of the reading, and (B,) its length."""
        limit = lengths.clamp(max=self.longest)
        last = torch.zeros_like(lengths)[:, None]
        open_, count, found = torch.ones_like(lengths, dtype=torch.bool), torch.ones_like(lengths), [last]
        kept: list[Memory] = []
        with torch.no_grad():
            for step in range(int(limit.max())):
                logits = self.classifier(self._decode(last, memories, valid, kept, step))
                open_ = open_ & (step < limit)
                last = (logits.argmax(2)[:, 0] * open_)[:, None]
                open_ = open_ & (last[:, 0] != END)
                if not open_.any():
                    break
                count = count + open_
                found.append(last)
        return torch.cat(found, 1), count

    def _decode(
        self, prefix: Tensor, memories: list[Memory], valid: Tensor | None, kept: list[Memory] | None, start: int = 0
    ) -> Tensor:
        """Symbols (B, L) → features (B, L, size).

        Args:
            prefix: the symbols from position ``start`` on.
            memories: keys and values of the frames, for each layer.
            valid: booleans (B, T) of the frames, or None.
            kept: keys and values of the symbols before ``start``, for each layer; the new ones are added to it.
            start: position of the first symbol.
        """
        x = self.embedding(prefix) * self.norm.normalized_shape[0] ** 0.5
        x = x + sinusoids(prefix.shape[1], x.shape[2], x.device, start)
        for number, (layer, memory) in enumerate(zip(self.decoder, memories, strict=True)):
            asked = layer.norm(x)
            own = layer.attention.memory(asked)
            if kept is not None:
                own = (
                    own
                    if start == 0
                    else (torch.cat([kept[number][0], own[0]], 2), torch.cat([kept[number][1], own[1]], 2))
                )
                kept[number : number + 1] = [own]
            x = x + layer.attention(asked, own, None, causal=kept is None)
            x = x + layer.look(layer.look_norm(x), memory, valid)
            x = x + layer.feed_forward(x)
        features: Tensor = self.norm(x)
        return features


class _Layer(nn.Module):
    """What a layer of the decoder is made of: attention to the symbols so far, to the frames, and two linear layers."""

    def __init__(self, size: int) -> None:
        super().__init__()
        heads = heads_of(size)
        self.norm, self.attention = nn.LayerNorm(size), Attention(size, heads)
        self.look_norm, self.look = nn.LayerNorm(size), Attention(size, heads)
        self.feed_forward = feed_forward(size)
