"""An encoder behind OpenAI's embeddings endpoint, on LitServe."""
