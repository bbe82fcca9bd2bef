"""Tables into Vega-Lite specifications. Nothing is measured here."""
