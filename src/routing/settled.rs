//! Who waits until the routes have done with a message: a listener that acknowledges only what has been delivered. Costs nothing while nobody waits.
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// What routes have done with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Each has delivered it, or did not want it.
    Delivered,
    /// This one has given it up.
    GivenUp(String),
}

/// The messages that somebody waits for, by number.
#[derive(Debug, Default)]
pub struct Settled {
    /// All routes there are.
    routes: ArcSwap<Vec<String>>,
    waiting: Mutex<HashMap<u64, Waiting>>,
    count: AtomicUsize,
}

#[derive(Debug)]
struct Waiting {
    /// Routes that have not done with it.
    left: Vec<String>,
    given_up: Option<String>,
    done: oneshot::Sender<Settlement>,
}

/// The answer to come; dropping it ends the wait.
#[derive(Debug)]
pub struct Wait {
    settled: Arc<Settled>,
    seq: u64,
    done: oneshot::Receiver<Settlement>,
}

impl Settled {
    /// The routes that are waited for.
    pub fn routes(&self) -> Arc<Vec<String>> {
        self.routes.load_full()
    }

    /// From now on these are all routes there are; the others are not waited for any more.
    pub fn set_routes(&self, routes: Vec<String>) {
        let gone: Vec<_> = self.routes().iter().filter(|route| !routes.contains(route)).cloned().collect();
        self.routes.store(Arc::new(routes));
        for route in gone {
            self.settle(&route, 0, u64::MAX, false);
        }
    }

    /// Waits for all routes; to be called before any of them can see the message.
    pub fn wait(self: &Arc<Self>, seq: u64) -> Wait {
        let (sender, done) = oneshot::channel();
        let routes = self.routes().to_vec();
        if routes.is_empty() {
            let _ = sender.send(Settlement::Delivered);
        } else {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.insert(seq, Waiting { left: routes, given_up: None, done: sender });
            self.count.store(waiting.len(), Ordering::Release);
        }
        Wait { settled: Arc::clone(self), seq, done }
    }

    /// A route has done with the messages from one number to another; `given_up` where it could not deliver them.
    pub fn settle(&self, route: &str, from: u64, to: u64, given_up: bool) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers: Vec<u64> = match to - from {
            0 => vec![from],
            _ => waiting.keys().copied().filter(|seq| (from..=to).contains(seq)).collect(),
        };
        for seq in numbers {
            let Some(one) = waiting.get_mut(&seq) else { continue };
            one.left.retain(|left| left != route);
            if given_up {
                one.given_up.get_or_insert_with(|| route.to_owned());
            }
            if one.left.is_empty()
                && let Some(one) = waiting.remove(&seq)
            {
                // Whoever waited may be gone.
                let _ = one.done.send(one.given_up.map_or(Settlement::Delivered, Settlement::GivenUp));
            }
        }
        self.count.store(waiting.len(), Ordering::Release);
    }
}

impl Wait {
    /// What the routes have done, once all of them have.
    pub async fn settlement(&mut self) -> Settlement {
        // The sender goes only with an answer.
        (&mut self.done).await.unwrap_or_else(|_| Settlement::GivenUp(String::new()))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut waiting = self.settled.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&self.seq);
        self.settled.count.store(waiting.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_settled_when_the_last_route_has_done() {
        let settled = Arc::new(Settled::default());
        settled.settle("a", 1, 9, true);
        settled.set_routes(vec!["a".to_owned(), "b".to_owned()]);
        let (mut first, mut second) = (settled.wait(10), settled.wait(11));
        let gone = settled.wait(12);
        settled.settle("a", 10, 11, false);
        settled.settle("b", 11, 11, true);
        assert_eq!(second.settlement().await, Settlement::GivenUp("b".into()));
        assert!(first.done.try_recv().is_err(), "one route has not done with it");
        settled.settle("b", 10, 10, false);
        assert_eq!(first.settlement().await, Settlement::Delivered);
        drop(gone);
        assert_eq!(settled.count.load(Ordering::Acquire), 0);
        settled.set_routes(vec![]);
        assert_eq!(settled.wait(13).settlement().await, Settlement::Delivered);
    }
}
