"""Check without a cluster that the deployment would work.

These are the checks of the image, of the Helm values and of what both produce; `make deploy-check` runs them and prints
what it checked. Tests of the data handling are outside this folder. See docs/deploy.md.

    values_files.py  the values as Helm merges them
    rules.py         the project's own rules for values: one function per rule, which yields sentences
    manifests.py     Kubernetes objects against the API's schemas and the restricted Pod Security standard
    run_jobs.py      the run Job as Dagster's own K8sRunLauncher builds it from the values
    network.py       what the network policies allow
    charts.py        the chart rendered by a real Helm, if both are available
    image.sh         `make image` and `make image-run`
"""
