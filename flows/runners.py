"""Where a sweep's trials run: Prefect's task runners, by name.

threads: of this process; each trial's stages are processes anyway, so this is all that one computer needs.
processes: one each. dask, ray: a cluster at an address, or a local one; all of it must see the home and the repository.
"""

from __future__ import annotations

from typing import Any

MISSING = "runner: {name} needs {package}, which is an extra: .venv/bin/python -m pip install {how}"


def task_runner(name: str, parallel: int, address: str | None = None) -> Any:
    """The runner for `parallel` tasks at once. ValueError: its package is missing, or it has no use for an address."""
    if address is not None and name not in ("dask", "ray"):
        raise ValueError(f"address is {address!r}, but the runner {name} has none: allowed with dask and ray")
    if name == "processes":
        from prefect.task_runners import ProcessPoolTaskRunner

        return ProcessPoolTaskRunner(max_workers=parallel)
    if name == "dask":
        return _dask(parallel, address)
    if name == "ray":
        return _ray(parallel, address)
    from prefect.task_runners import ThreadPoolTaskRunner

    return ThreadPoolTaskRunner(max_workers=parallel + 1)


def _dask(parallel: int, address: str | None) -> Any:
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError:
        how = "--no-deps -r requirements-dask.lock"
        raise ValueError(MISSING.format(name="dask", package="prefect-dask", how=how)) from None
    if address is not None:
        return DaskTaskRunner(address=address)
    local = {
        "n_workers": parallel,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": None,  # it would be one more server
    }
    return DaskTaskRunner(cluster_kwargs=local)


def _ray(parallel: int, address: str | None) -> Any:
    try:
        from prefect_ray import RayTaskRunner
    except ImportError:
        raise ValueError(MISSING.format(name="ray", package="prefect-ray", how="'prefect-ray>=0.6,<0.7'")) from None
    if address is not None:
        return RayTaskRunner(address=address)
    return RayTaskRunner(
        init_kwargs={"num_cpus": parallel, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    )
