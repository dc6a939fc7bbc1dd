"""Files of people: uploaded whole or piece by piece, kept in the data folder or in S3."""
