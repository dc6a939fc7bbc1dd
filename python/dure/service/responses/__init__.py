"""The Responses API, passed on; stored answers belong to those who asked for them."""
