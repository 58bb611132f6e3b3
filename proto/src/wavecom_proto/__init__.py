"""Event and query schemas, with the code generated from them."""
