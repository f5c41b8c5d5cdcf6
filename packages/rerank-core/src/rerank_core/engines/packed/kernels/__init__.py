"""Products, attention and passes over rows with the vectors and matrix instructions of x86, compiled at load by numba.

oneDNN, which torch asks for such products, chooses the order of its sums by the number of rows: a score's last bits
then depend on the batch. These kernels sum every row in one order, write float32 without a rounding between, and
round inputs while they lay them out as the instructions read them.
"""
