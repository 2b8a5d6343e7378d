"""The local training backend: next-token NLL on target tokens, on Hugging Face Trainer."""
