"""A run as HTML: the page for those who decide, and what stays of a notebook without a kernel."""
