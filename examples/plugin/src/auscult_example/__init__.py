"""One part of each kind that Auscult can be extended by."""
