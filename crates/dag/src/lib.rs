//! Pure DAG work: chunkers, UnixFS write and read, HAMT, CAR. Knows nothing of clusters.
