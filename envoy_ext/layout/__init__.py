"""Finds and checks where an Envoy binary's BoringSSL keeps a private key's numbers."""
