"""Small clusters on this machine, as joblib backends."""

from contextlib import contextmanager

import pytest
from joblib import parallel_config


@contextmanager
def dask():
    """Two workers of dask."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        parallel_config(backend="dask"),
    ):
        yield


@contextmanager
def ray():
    """Two workers of Ray."""
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        register_ray()
        with parallel_config(backend="ray", n_jobs=2):
            yield
    finally:
        ray.shutdown()
