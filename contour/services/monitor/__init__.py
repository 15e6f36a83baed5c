"""What became of delivered drawings: approved structure sets come back, and say what people changed."""
