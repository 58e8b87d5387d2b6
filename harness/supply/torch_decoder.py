"""The decoder in PyTorch, written so that XNNPACK can take nearly all of it. Needs the extra `executorch`.

It computes what llama.cpp computes from the same numbers. Two things are written as a multiplication by a constant
matrix, because the plain form would leave the back end and come back several times per layer: the mean of the squares
in RMSNorm, and the turned copy of each head that the rotary embedding adds.
"""

from __future__ import annotations

import torch
from torch import nn

from harness.supply.pte_shape import DecoderShape, Weights

_MASKED = -1e9
"""Added to the score of a position that is not to be seen: its share is exactly 0 then."""


class Norm(nn.Module):
    """RMSNorm over the last dimension of [tokens, width]."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.epsilon = epsilon
        self.register_buffer("mean", torch.full((width, 1), 1.0 / width), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(torch.mm(x * x, self.mean) + self.epsilon) * self.weight


class Layer(nn.Module):
    """One block: attention over the cache, then the gated feed-forward part."""

    def __init__(self, shape: DecoderShape, context: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = shape.heads, shape.kv_heads, shape.head_dim
        self.context = context
        query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.attention_norm = Norm(shape.hidden, shape.epsilon)
        self.q = nn.Linear(shape.hidden, query, bias=False)
        self.k = nn.Linear(shape.hidden, key, bias=False)
        self.v = nn.Linear(shape.hidden, key, bias=False)
        self.o = nn.Linear(query, shape.hidden, bias=False)
        self.feed_forward_norm = Norm(shape.hidden, shape.epsilon)
        self.gate = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.up = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.hidden, bias=False)
        self.register_buffer("turn", turn_matrix(shape.head_dim, shape.interleaved), persistent=False)
        for name in ("keys", "values"):
            empty = torch.zeros(shape.kv_heads, context, shape.head_dim)
            self.register_buffer(name, empty, persistent=False)

    def forward(
        self, x: torch.Tensor, positions: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        x = x + self.o(self.attend(self.attention_norm(x), positions, cos, sin, mask))
        y = self.feed_forward_norm(x)
        gate = self.gate(y)
        return x + self.down(gate * torch.sigmoid(gate) * self.up(y))

    def attend(
        self, x: torch.Tensor, positions: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        width, group = self.head_dim, self.heads // self.kv_heads
        query = self.rotate(self.q(x), self.heads, cos, sin)
        key = self.rotate(self.k(x), self.kv_heads, cos, sin).permute(1, 0, 2)
        value = self.v(x).view(-1, self.kv_heads, width).permute(1, 0, 2)
        self.keys[:, positions] = key
        self.values[:, positions] = value
        # Queries that share keys and values are rows of one matrix: nothing is repeated.
        query = query.view(-1, self.kv_heads, group, width).permute(1, 2, 0, 3).contiguous()
        query = query.view(self.kv_heads, -1, width)
        scores = torch.bmm(query, self.keys.permute(0, 2, 1)) * width**-0.5
        scores = scores.view(self.kv_heads, group, -1, self.context) + mask
        shares = torch.softmax(scores, dim=-1).view(self.kv_heads, -1, self.context)
        mixed = torch.bmm(shares, self.values).view(self.kv_heads, group, -1, width)
        return mixed.permute(2, 0, 1, 3).contiguous().view(-1, self.heads * width)

    def rotate(self, x: torch.Tensor, heads: int, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        turned = torch.mm(x.view(-1, self.head_dim), self.turn).view(-1, heads, self.head_dim)
        return x.view(-1, heads, self.head_dim) * cos + turned * sin


class Decoder(nn.Module):
    """tokens int64 [1, n] at positions `input_pos` int64 [1] and onwards → logits float32 [1, vocabulary] of the last.

    Keys and values of earlier calls are kept in the module. Positions from where a call ends onwards are never seen, so
    a new text begins with `input_pos` 0 and nothing has to be cleared.
    """

    def __init__(self, shape: DecoderShape, context: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape, context) for _ in range(shape.layers))
        self.norm = Norm(shape.hidden, shape.epsilon)
        self.output = nn.Linear(shape.hidden, shape.vocabulary, bias=False)
        cos, sin = rope_tables(shape, context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.register_buffer("columns", torch.arange(context), persistent=False)

    def forward(self, tokens: torch.Tensor, input_pos: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(tokens.shape[1]) + input_pos
        cos = torch.nn.functional.embedding(positions, self.cos).unsqueeze(1)
        sin = torch.nn.functional.embedding(positions, self.sin).unsqueeze(1)
        mask = (self.columns.unsqueeze(0) > positions.unsqueeze(1)).to(torch.float32) * _MASKED
        x = self.embedding(tokens[0]).to(torch.float32)
        for layer in self.layers:
            x = layer(x, positions, cos, sin, mask)
        logits: torch.Tensor = self.output(self.norm(x[-1:]))
        return logits


def turn_matrix(width: int, interleaved: bool) -> torch.Tensor:
    """M with (x M) being x turned by a quarter in the plane of each pair: (a, b) → (-b, a)."""
    half = width // 2
    pairs = [(2 * n, 2 * n + 1) if interleaved else (n, n + half) for n in range(half)]
    matrix = torch.zeros(width, width)
    for first, second in pairs:
        matrix[second, first] = -1.0
        matrix[first, second] = 1.0
    return matrix


def rope_tables(shape: DecoderShape, context: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine [context, head_dim] of every position and number of a head."""
    pairs = torch.tensor(shape.frequencies, dtype=torch.float64)
    angles = torch.arange(context, dtype=torch.float64).unsqueeze(1) * pairs
    full = angles.repeat_interleave(2, dim=1) if shape.interleaved else torch.cat((angles, angles), dim=1)
    return full.cos().to(torch.float32), full.sin().to(torch.float32)


def load(shape: DecoderShape, weights: Weights, context: int) -> Decoder:
    """The decoder with these weights in float32, ready to be exported.

    Raises:
        KeyError, ValueError: a weight is missing, unknown, or of another shape.
    """
    decoder = Decoder(shape, context)
    wanted = shape.shapes()
    targets = dict(decoder.named_parameters())
    for name, array in weights:
        if tuple(array.shape) != wanted[name]:
            raise ValueError(f"weight {name} has shape {tuple(array.shape)}, not {wanted.pop(name)}")
        del wanted[name]
        with torch.no_grad():
            targets[f"{name}.weight"].copy_(torch.from_numpy(array))
    if wanted:
        raise KeyError(f"no weight {next(iter(wanted))}")
    if shape.tied:
        decoder.output.weight = decoder.embedding.weight
    # Weights that could be trained keep torchao's tensors from being exported.
    decoder.eval().requires_grad_(False)
    return decoder
