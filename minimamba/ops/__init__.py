"""Operations that exist for speed alone; each has a plain PyTorch form beside it."""
