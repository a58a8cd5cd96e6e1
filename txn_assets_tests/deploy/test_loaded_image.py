"""The question that docs/deploy.md asks each webserver after an upgrade, against a real webserver and code server."""

from pathlib import Path

import yaml

from txn_assets_tests.deploy.processes import code_server, environment, execute, free_port, running, wait_for
from txn_assets_tests.deploy.values_files import code_location, merged

ASK = ["python", "-m", "txn_assets.defs.loaded_image"]


def test_webserver_names_the_image_of_its_definitions(tmp_path: Path) -> None:
    """The command prints the image, and fails if another one is expected or nothing is loaded."""
    values = merged("prod")
    location = code_location(values)
    image = f"{location['image']['repository']}:{location['image']['tag']}"
    variables = environment(
        values,
        TXN_CONFIG=str(Path(__file__).parents[2] / "data" / "pipeline_config.yaml"),
        TXN_HOME=str(tmp_path / "scratch"),
        TXN_PG_PASSWORD="from a Secret",
        DAGSTER_HOME=str(tmp_path),
    )
    web = free_port()
    ask = [*ASK, "--port", str(web)]
    with code_server(values, tmp_path, variables) as (port, _):
        workspace = {"load_from": [{"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": "txn-assets"}}]}
        (tmp_path / "workspace.yaml").write_text(yaml.safe_dump(workspace))
        command = ["dagster-webserver", "-h", "127.0.0.1", "-p", str(web), "-w", str(tmp_path / "workspace.yaml")]
        with running(command, tmp_path / "webserver.log", variables):
            wait_for(ask, variables)
            same = execute([*ask, image], variables)
            other = execute([*ask, "registry/txn-assets:2.0.0"], variables)
    nobody = execute(ask, variables)

    assert (same.returncode, same.stdout) == (0, f"txn-assets: {image}\n")
    assert other.returncode == 1
    assert other.stdout == f"txn-assets: from {image} instead of registry/txn-assets:2.0.0: restart this webserver\n"
    assert nobody.returncode == 1
    assert nobody.stderr.startswith(f"No webserver answers on port {web} of this pod: ")


def test_code_server_that_does_not_load_is_named(tmp_path: Path) -> None:
    """A webserver whose code location has an error says so, and the command fails."""
    variables = {**environment(merged("prod")), "DAGSTER_HOME": str(tmp_path)}
    web = free_port()
    workspace = {"load_from": [{"grpc_server": {"host": "127.0.0.1", "port": free_port(), "location_name": "gone"}}]}
    (tmp_path / "workspace.yaml").write_text(yaml.safe_dump(workspace))
    command = ["dagster-webserver", "-h", "127.0.0.1", "-p", str(web), "-w", str(tmp_path / "workspace.yaml")]
    with running(command, tmp_path / "webserver.log", variables):
        wait_for(["python", "-c", f"import socket; socket.create_connection(('127.0.0.1', {web}))"], variables)
        done = execute([*ASK, "--port", str(web)], variables)
    assert done.returncode == 1
    assert done.stdout.startswith("gone: not loaded: ")
