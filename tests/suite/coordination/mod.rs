//! The coordination layer through its public face, on the messages of the story.
mod card;
mod kept;
mod late;
mod leaving;
mod loops;
mod measured;
mod parted;
mod subscriptions;
mod subscriptions_story;
