"""Entry points: each module is one job, run as `edupulse NAME`, as `python -m jobs.NAME`, or by `ray job submit`."""

from edupulse_ml.config.settings import set_environment_default

# Read when torch and LightGBM are loaded, so it must be set before any job imports them. The matrices here are small:
# with a thread per core, idle threads spin against whatever else runs (measured on two busy cores: five times the CPU
# time per training epoch). A machine with cores to spare sets OMP_NUM_THREADS itself.
set_environment_default("OMP_NUM_THREADS", "1")
