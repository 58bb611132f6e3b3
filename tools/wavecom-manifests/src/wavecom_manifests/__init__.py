"""The Kubernetes manifests of `deploy/k8s`: rendered, and checked against schemas, policies and the code."""
