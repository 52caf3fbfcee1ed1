#!/bin/sh
# Sets up a peer in $IPFS_CLUSTER_PATH if there is none, then runs what it is told to.
set -e
[ -z "$DOCKER_DEBUG" ] || set -x
ipfs-cluster-service --version
if [ -e "$IPFS_CLUSTER_PATH/service.json" ]; then
    echo "Found IPFS cluster configuration at $IPFS_CLUSTER_PATH"
else
    echo "This container only runs ipfs-cluster-service. ipfs needs to be run separately!"
    echo "Initializing default configuration..."
    ipfs-cluster-service init --consensus "$IPFS_CLUSTER_CONSENSUS"
fi
exec ipfs-cluster-service "$@"
