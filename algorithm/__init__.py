"""Dynamic token quantization on real models.

The hardware driver and the golden model read :mod:`~dtqatten.algorithm.policy`, which needs
numpy only. Everything else runs inside PyTorch models and needs the extra ``algorithm``.
"""
