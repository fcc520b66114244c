"""``istio_kit validate``: finds mistakes in manifests before a cluster or a proxy does."""
