//! where values came from
