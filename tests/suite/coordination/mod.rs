//! The coordination layer through its public face.
mod subscriptions;
mod subscriptions_story;
