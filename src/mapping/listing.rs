//! plan listing
