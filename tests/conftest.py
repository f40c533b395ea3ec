import os

# Before torch is imported: tests run beside each other on few cores.
os.environ.setdefault("OMP_NUM_THREADS", "2")
