"""How a network is trained, evaluated and exported. The only room with torch, MONAI and Lightning."""
