"""The sections of ``bench_gpu.py``, each of which runs in a process of its own."""
