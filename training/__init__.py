"""Training of the upscaler's networks from drawn pictures; no part of the product imports this."""
