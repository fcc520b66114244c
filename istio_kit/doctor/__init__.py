"""``istio_kit doctor``: checks a host, an Envoy binary and a running proxy."""
