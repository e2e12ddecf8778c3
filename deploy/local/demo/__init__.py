"""The demo: a product with twelve customers whose story is known beforehand, a narrator, and a judge."""
