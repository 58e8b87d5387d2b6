"""Steps from every schema that was ever released to the one of `harness.store.schema`."""
