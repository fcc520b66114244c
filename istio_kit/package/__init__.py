"""``istio_kit package``: what people deploy, as a tarball and as container images."""
