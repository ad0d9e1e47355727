//! Logic of the fuzz targets, compiled with the crate so that it cannot rot.
