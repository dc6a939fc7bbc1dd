"""Knowledge: documents of an organisation, search in them, answers from them."""
