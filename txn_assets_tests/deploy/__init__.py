"""Whether what is deployed would work, found out without a cluster.

Here belong the checks of the image, of the Helm values and of what both produce; `make deploy-check` runs them and
prints what it checked. Tests of what the code does with a file are beside this folder. Documented in docs/deploy.md.

    values_files.py  the values as Helm merges them
    rules.py         the project's own rules for values: one function a rule, a list of sentences out
    manifests.py     Kubernetes objects against the API's schemas and the restricted Pod Security standard
    run_jobs.py      the run Job as Dagster's own K8sRunLauncher builds it from the values
    network.py       what the network policies let through
    charts.py        the chart rendered by a real Helm, where both are at hand
    image.sh         `make image` and `make image-run`
"""
