# Memory and thread settings for training on a CPU: keep big buffers instead of mapping them anew at every step.
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=200000000
export OMP_NUM_THREADS="${THREADS:-2}" OPENBLAS_NUM_THREADS="${THREADS:-2}" OMP_WAIT_POLICY=PASSIVE
