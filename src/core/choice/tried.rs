//! What a request has tried since it last waited (C8). The request path marks, `pools` heeds: a refused subscription
//! and its (domain, limit group) get no second try until the request has waited; an endpoint that could not be
//! reached gets one only by [`Tried::once_more`]; after an `upstream_error` another subscription is due.

use crate::core::id::SubscriptionIndex;

/// At most 16 tries a request (C8).
pub const MOST: usize = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mark {
    #[default]
    Refused,
    Errored,
    Failed,
    /// Its endpoint may be tried a second time.
    Forgiven,
    Overloaded,
}

/// Marks of one request, inline. A grant from the waiting room empties the list: go on with a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    marks: [(u16, Mark); MOST],
    len: u8,
    /// The latest mark says that only another subscription will do.
    another: bool,
}

impl Tried {
    /// Nothing tried yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// C8 (a): it answered `rate_limited`, `quota_exhausted` or `credential_invalid`.
    pub fn refused(&mut self, subscription: SubscriptionIndex) {
        self.mark(subscription, Mark::Refused);
        self.another = false;
    }

    /// C8 (c): it answered `upstream_error`. The next acquire grants another subscription or refuses; later ones
    /// prefer another.
    pub fn errored(&mut self, subscription: SubscriptionIndex) {
        self.mark(subscription, Mark::Errored);
        self.another = true;
    }

    /// C8 (d): its endpoint could not be reached. No subscription of that endpoint is granted, in the waiting room
    /// neither. A request handed back unsent is no mark: any subscription may have it.
    pub fn failed(&mut self, subscription: SubscriptionIndex) {
        self.mark(subscription, Mark::Failed);
        self.another = false;
    }

    /// C8 (b): its provider is overloaded. Heeded only where the request is to go elsewhere.
    pub fn overloaded(&mut self, subscription: SubscriptionIndex) {
        self.mark(subscription, Mark::Overloaded);
    }

    /// C8 (d): lets the endpoints that failed be tried again, once in a request. To be called 100 ms after the
    /// failure, where no subscription of another endpoint was left; `false`: there is nothing to try again.
    pub fn once_more(&mut self) -> bool {
        self.another = false;
        if self.with(Mark::Forgiven).next().is_some() {
            return false;
        }
        let mut any = false;
        for (_, mark) in self.marks.iter_mut().take(usize::from(self.len)) {
            if *mark == Mark::Failed {
                *mark = Mark::Forgiven;
                any = true;
            }
        }
        any
    }

    /// How many marks there are.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether nothing was tried.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether only another subscription than those that errored will do.
    pub(crate) fn wants_another(&self) -> bool {
        self.another
    }

    pub(crate) fn has_refused(&self, subscription: SubscriptionIndex) -> bool {
        self.has(subscription, Mark::Refused)
    }

    pub(crate) fn has_errored(&self, subscription: SubscriptionIndex) -> bool {
        self.has(subscription, Mark::Errored)
    }

    /// Those that refused.
    pub(crate) fn refusers(&self) -> impl Iterator<Item = SubscriptionIndex> {
        self.with(Mark::Refused)
    }

    /// Those whose endpoint is out.
    pub(crate) fn unreachable(&self) -> impl Iterator<Item = SubscriptionIndex> {
        self.with(Mark::Failed)
    }

    /// Those whose provider was overloaded.
    pub(crate) fn overloads(&self) -> impl Iterator<Item = SubscriptionIndex> {
        self.with(Mark::Overloaded)
    }

    /// What stays of it in the waiting room: the endpoints that are out.
    pub(crate) fn waiting(&self) -> Self {
        let mut kept = Self::default();
        for subscription in self.unreachable() {
            kept.mark(subscription, Mark::Failed);
        }
        kept
    }

    fn mark(&mut self, subscription: SubscriptionIndex, mark: Mark) {
        if let Some(slot) = self.marks.get_mut(usize::from(self.len)) {
            *slot = (subscription.0, mark);
            self.len += 1;
        }
    }

    fn has(&self, subscription: SubscriptionIndex, mark: Mark) -> bool {
        self.with(mark).any(|marked| marked == subscription)
    }

    fn with(&self, mark: Mark) -> impl Iterator<Item = SubscriptionIndex> {
        self.marks
            .iter()
            .take(usize::from(self.len))
            .filter(move |(_, own)| *own == mark)
            .map(|(subscription, _)| SubscriptionIndex(*subscription))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SubscriptionIndex = SubscriptionIndex(0);
    const B: SubscriptionIndex = SubscriptionIndex(1);

    // C8 (d)
    #[test]
    fn an_endpoint_is_tried_once_more_and_then_no_more() {
        let mut tried = Tried::new();
        assert!(!tried.once_more());
        tried.failed(A);
        assert_eq!(tried.unreachable().collect::<Vec<_>>(), [A]);
        assert!(tried.once_more());
        assert_eq!(tried.unreachable().count(), 0);
        tried.failed(A);
        assert!(!tried.once_more());
        assert_eq!(tried.unreachable().collect::<Vec<_>>(), [A]);
    }

    // C8 (c)
    #[test]
    fn only_the_latest_error_demands_another_subscription() {
        let mut tried = Tried::new();
        tried.errored(A);
        assert!(tried.wants_another());
        tried.refused(B);
        assert!(!tried.wants_another());
        assert!(tried.has_errored(A) && tried.has_refused(B));
    }

    // C5, C8: a waiter forgets who refused it, not what cannot be reached
    #[test]
    fn the_waiting_room_keeps_only_unreachable_endpoints() {
        let mut tried = Tried::new();
        tried.refused(A);
        tried.failed(B);
        let kept = tried.waiting();
        assert!(!kept.has_refused(A));
        assert_eq!(kept.unreachable().collect::<Vec<_>>(), [B]);
    }

    // C8: at most 16 tries
    #[test]
    fn marks_beyond_the_sixteenth_are_dropped() {
        let mut tried = Tried::new();
        for index in 0..20 {
            tried.refused(SubscriptionIndex(index));
        }
        assert_eq!(tried.len(), MOST);
        assert!(!tried.has_refused(SubscriptionIndex(16)));
    }
}
