"""The shape of the demo model, as the content of the published-style JSON files."""

from processor import MEAN, STD, aspect_ratios
from tokenizer import SPECIAL, VOCAB_SIZE

FIRST_SPECIAL = VOCAB_SIZE - len(SPECIAL)
BOS, PAD = FIRST_SPECIAL, FIRST_SPECIAL + 4
EOS = [FIRST_SPECIAL + 1, FIRST_SPECIAL + 8, FIRST_SPECIAL + 9]    # end of text, of message, of turn
TILE, PATCH, MAX_TILES = 112, 14, 4


def model_config():
    taps, vision_size = [2, 4, 5], 192
    vision = {
        "model_type": "mllama_vision_model", "hidden_size": vision_size, "hidden_act": "gelu",
        "num_hidden_layers": 6, "num_global_layers": 2, "attention_heads": 6, "intermediate_size": 768,
        "num_channels": 3, "image_size": TILE, "patch_size": PATCH, "max_num_tiles": MAX_TILES, "norm_eps": 1e-5,
        "intermediate_layers_indices": taps, "vision_output_dim": vision_size * (1 + len(taps)),
        "supported_aspect_ratios": [list(r) for r in aspect_ratios(MAX_TILES)],
        "initializer_range": 0.02, "torch_dtype": "bfloat16",
    }
    text = {
        "model_type": "mllama_text_model", "vocab_size": VOCAB_SIZE, "hidden_size": 256, "hidden_act": "silu",
        "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 512,
        "cross_attention_layers": [1, 3, 5], "rope_theta": 10000.0, "rms_norm_eps": 1e-5,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 8192},
        "max_position_embeddings": 2048, "dropout": 0, "use_cache": True, "tie_word_embeddings": False,
        "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD,
        "initializer_range": 0.02, "torch_dtype": "bfloat16",
    }
    return {"architectures": ["MllamaForConditionalGeneration"], "model_type": "mllama",
            "image_token_index": VOCAB_SIZE, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
            "text_config": text, "vision_config": vision}


def processor_config():
    return {"do_convert_rgb": True, "do_normalize": True, "do_pad": True, "do_rescale": True, "do_resize": True,
            "image_mean": list(MEAN), "image_std": list(STD), "image_processor_type": "MllamaImageProcessor",
            "max_image_tiles": MAX_TILES, "resample": 2, "rescale_factor": 1 / 255, "size": {"height": TILE, "width": TILE}}


def generation_config():
    return {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD, "do_sample": False}
