"""Qwen2 and Qwen2.5, whose queries, keys and values have biases; Qwen3, which normalises queries and keys instead."""

from rerank_core.engines.packed.architectures.decoder import DecoderArchitecture, chosen_windows

QWEN2 = DecoderArchitecture(
    name="Qwen2",
    examples=("mixedbread-ai/mxbai-rerank-base-v2", "mixedbread-ai/mxbai-rerank-large-v2"),
    biases={"attention_in": True},
    windows=chosen_windows,
)
QWEN3 = DecoderArchitecture(
    name="Qwen3",
    examples=("Qwen/Qwen3-Reranker-0.6B", "zeroentropy/zerank-1-small-reranker"),
    biases=dict.fromkeys(("attention_in", "attention_out"), "attention_bias"),
    head_width=128,
    normalizes_heads=True,
    windows=chosen_windows,
)
