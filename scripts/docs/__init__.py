"""What pages of the documentation take from the code: commands, configurations, layers."""
