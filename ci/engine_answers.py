"""Exit 0 if a Docker engine answers, 1 if not. With MCP_CHAOS_REQUIRE_DOCKER=1 the tests decide, so: 0."""

import os
import sys

import docker
from docker.errors import DockerException

if os.environ.get("MCP_CHAOS_REQUIRE_DOCKER") == "1":
    sys.exit(0)
try:
    docker.from_env(timeout=5).ping()
except DockerException:
    sys.exit(1)
