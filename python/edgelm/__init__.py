"""On-device LLM inference: loads llama.cpp GGUF files and generates text on a CPU."""
