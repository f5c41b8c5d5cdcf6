"""Write a random checkpoint of a known model's shape: ``write_shape.py {large,small,modernbert} DIRECTORY``.

It is as fast as the model; its scores mean nothing. The vocabulary is a few words: a larger one takes memory, not time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rerank_core.testing.checkpoints import edit_json, write_tiny_checkpoint

# The family, and the shape: of BAAI/bge-reranker-v2-m3, cross-encoder/ms-marco-MiniLM-L6-v2 and ModernBERT-base.
SHAPES = {
    "large": (
        "xlm-roberta",
        {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24}
        | {"max_position_embeddings": 514},
    ),
    "small": (
        "bert",
        {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536, "num_hidden_layers": 6}
        | {"max_position_embeddings": 512},
    ),
    "modernbert": (
        "modernbert",
        {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 1152, "num_hidden_layers": 22}
        | {"max_position_embeddings": 8192, "local_attention": 128, "global_attn_every_n_layers": 3},
    ),
}

# Classes that every peer's release of transformers knows. FlagEmbedding asks them for the special tokens of a pair.
TOKENIZERS = {
    "xlm-roberta": "XLMRobertaTokenizerFast",
    "bert": "BertTokenizerFast",
    "modernbert": "PreTrainedTokenizerFast",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=list(SHAPES))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--layers", type=int, help="fewer layers, for a try")
    arguments = parser.parse_args()
    family, shape = SHAPES[arguments.shape]
    if arguments.layers:
        shape = shape | {"num_hidden_layers": arguments.layers}
    directory = write_tiny_checkpoint(arguments.directory, family, config=shape)
    edit_json(directory / "tokenizer_config.json", tokenizer_class=TOKENIZERS[family])


if __name__ == "__main__":
    main()
