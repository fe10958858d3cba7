"""What every option is promised to be by default: llama.cpp's common_params_sampling."""

# n_predict, here max_tokens, is ours.
DEFAULTS = {
    "max_tokens": 256,
    "min_tokens": 0,
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.95,
    "min_p": 0.05,
    "typical_p": 1.0,
    "repeat_penalty": 1.0,
    "repeat_last_n": 64,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "logit_bias": None,
    "stop": (),
    "stop_token_ids": (),
    "seed": None,
    "logprobs": 0,
    "ignore_eos": False,
    "echo": False,
    "logits_processors": (),
    "cache_prompt": True,
}
