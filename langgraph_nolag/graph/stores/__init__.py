"""What `NoLagStore` is made of: operations as requests, embeddings, watching."""
