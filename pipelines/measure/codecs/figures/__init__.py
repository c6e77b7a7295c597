"""Figures of one reconstruction and its original: pure functions of tensors, and the table that names them."""
