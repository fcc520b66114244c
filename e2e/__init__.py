"""End-to-end runs: client, gateway and server on nodes of their own, through real Envoys."""
