"""Where to ask, in whose words and with whose key; what answers, and how it wants to be asked."""
