//! What waits for one connection: the queue between the hub, which never waits, and the connection's driver.
//!
//! It is bounded in frames and in bytes: frames differ in size by a factor of a thousand, and what a client that doesn't
//! read may cost has to be known. It holds no memory while it is empty, since that is what most are.
//!
//! Owns: the bounds. Must not: know who hears what, or touch a socket.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use axum::extract::ws::Utf8Bytes;

use super::session::Close;

/// Frames that wait for one connection. Beyond this it is too slow.
const MAX_FRAMES: usize = 512;
/// Bytes that wait for one connection: twenty of the largest messages. One larger frame alone may wait.
const MAX_BYTES: usize = 1024 * 1024;
/// What the driver takes at once, to be written at once: so much may be under way in addition to what waits.
const BATCH_FRAMES: usize = 64;
pub const BATCH_BYTES: usize = 128 * 1024;

/// A frame on its way; serialised once, shared by all who get it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its place in the journal; none for signals.
    pub seq: Option<i64>,
    /// The frame.
    pub text: Utf8Bytes,
}

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// What the driver is to do.
#[derive(Debug)]
pub enum Ready {
    /// End the connection.
    Close(Close),
    /// Send these, the oldest first; never none.
    Frames(VecDeque<Delivery>),
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Delivery>,
    bytes: usize,
    close: Option<Close>,
    waiting: Option<Waker>,
}

#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<Queue>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the driver, after the lock is free again.
    fn wake(&self) {
        let waiting = self.lock().waiting.take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

/// The hub's end. Dropping it ends the connection.
#[derive(Debug)]
pub struct Outbox(Shared);

/// The driver's end.
#[derive(Debug)]
pub struct Inbox(Shared);

/// An empty queue.
pub fn outbox() -> (Outbox, Inbox) {
    let shared = Shared::default();
    (Outbox(shared.clone()), Inbox(shared))
}

impl Outbox {
    /// Puts a frame into the queue, unless the connection is to end anyway. Whether the driver has to be woken: it is left
    /// to the hub when, so that what comes together is written together.
    ///
    /// # Errors
    /// If the queue has no room for it.
    pub fn push(&self, delivery: &Delivery) -> Result<bool, Full> {
        let mut queue = self.0.lock();
        if queue.close.is_some() {
            return Ok(false);
        }
        let was_empty = queue.frames.is_empty();
        let was_crowded = queue.is_crowded();
        let bytes = queue.bytes.saturating_add(delivery.text.len());
        if !was_empty && (queue.frames.len() >= MAX_FRAMES || bytes > MAX_BYTES) {
            return Err(Full);
        }
        queue.bytes = bytes;
        queue.frames.push_back(delivery.clone());
        Ok(was_empty || (!was_crowded && queue.is_crowded()))
    }

    /// Wakes the driver for what was put in.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// Whether the queue is so full that only what must arrive should go in.
    pub fn is_crowded(&self) -> bool {
        self.0.lock().is_crowded()
    }

    /// Ends the connection, for the first reason that is given. What waits is not sent any more.
    pub fn close(&self, why: Close) {
        let mut queue = self.0.lock();
        queue.close.get_or_insert(why);
        // Nobody will take it.
        queue.frames = VecDeque::new();
        queue.bytes = 0;
        drop(queue);
        self.0.wake();
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.close(Close::GoingAway);
    }
}

impl Inbox {
    /// What there is to do. Frames are given out when `wants_frames`, or before the queue overflows; others wait.
    pub fn poll(&mut self, context: &Context<'_>, wants_frames: bool) -> Poll<Ready> {
        let mut queue = self.0.lock();
        if let Some(why) = queue.close {
            return Poll::Ready(Ready::Close(why));
        }
        if (wants_frames && !queue.frames.is_empty()) || queue.is_crowded() {
            return Poll::Ready(Ready::Frames(queue.batch()));
        }
        match &mut queue.waiting {
            Some(waker) => waker.clone_from(context.waker()),
            waiting => *waiting = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Why the connection must end, if it must.
    pub fn closed(&self) -> Option<Close> {
        self.0.lock().close
    }
}

impl Queue {
    fn is_crowded(&self) -> bool {
        self.frames.len() > MAX_FRAMES / 2 || self.bytes > MAX_BYTES / 2
    }

    fn batch(&mut self) -> VecDeque<Delivery> {
        let mut count = 0;
        let mut bytes = 0;
        for delivery in self.frames.iter().take(BATCH_FRAMES) {
            let more = bytes + delivery.text.len();
            if count > 0 && more > BATCH_BYTES {
                break;
            }
            count += 1;
            bytes = more;
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        let rest = self.frames.split_off(count);
        std::mem::replace(&mut self.frames, rest)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;

    fn frame(bytes: usize) -> Delivery {
        Delivery { seq: None, text: "x".repeat(bytes).into() }
    }

    fn take(inbox: &mut Inbox, wants_frames: bool) -> Option<Ready> {
        match inbox.poll(&Context::from_waker(Waker::noop()), wants_frames) {
            Poll::Ready(ready) => Some(ready),
            Poll::Pending => None,
        }
    }

    fn sizes(inbox: &mut Inbox) -> Vec<usize> {
        match take(inbox, true) {
            Some(Ready::Frames(frames)) => frames.iter().map(|frame| frame.text.len()).collect(),
            None => Vec::new(),
            Some(Ready::Close(why)) => panic!("closed: {why:?}"),
        }
    }

    #[test]
    fn it_is_bounded_in_frames() {
        let (outbox, _inbox) = outbox();
        for _ in 0..MAX_FRAMES {
            assert!(outbox.push(&frame(1)).is_ok());
        }
        assert_eq!(outbox.push(&frame(1)), Err(Full));
    }

    #[test]
    fn it_is_bounded_in_bytes_and_what_was_taken_makes_room() {
        let (outbox, mut inbox) = outbox();
        let quarter = frame(MAX_BYTES / 4);
        for _ in 0..4 {
            assert!(outbox.push(&quarter).is_ok());
        }
        assert!(outbox.is_crowded());
        assert_eq!(outbox.push(&frame(1)), Err(Full));
        assert_eq!(sizes(&mut inbox), [MAX_BYTES / 4], "more would be too much for one write");
        assert!(outbox.push(&frame(1)).is_ok());
        assert_eq!(outbox.push(&quarter), Err(Full));
    }

    #[test]
    fn a_frame_beyond_the_bound_goes_alone() {
        let (outbox, mut inbox) = outbox();
        assert!(outbox.push(&frame(MAX_BYTES + 1)).is_ok());
        assert_eq!(outbox.push(&frame(1)), Err(Full));
        assert_eq!(sizes(&mut inbox), [MAX_BYTES + 1]);
        assert_eq!(sizes(&mut inbox), [] as [usize; 0]);
        assert!(outbox.push(&frame(1)).is_ok());
    }

    #[test]
    fn small_frames_come_together_in_order() {
        let (outbox, mut inbox) = outbox();
        for bytes in 1..=BATCH_FRAMES + 2 {
            outbox.push(&frame(bytes)).unwrap();
        }
        assert!(take(&mut inbox, false).is_none(), "they wait for who doesn't want them yet");
        assert_eq!(sizes(&mut inbox), (1..=BATCH_FRAMES).collect::<Vec<_>>());
        assert_eq!(sizes(&mut inbox), [BATCH_FRAMES + 1, BATCH_FRAMES + 2]);
    }

    #[test]
    fn who_waits_is_given_them_before_the_queue_overflows() {
        let (outbox, mut inbox) = outbox();
        for _ in 0..=MAX_FRAMES / 2 {
            assert!(take(&mut inbox, false).is_none());
            outbox.push(&frame(1)).unwrap();
        }
        assert!(
            matches!(take(&mut inbox, false), Some(Ready::Frames(frames)) if frames.len() == BATCH_FRAMES)
        );
    }

    #[test]
    fn a_driver_is_woken_when_the_hub_is_done_and_once() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (outbox, mut inbox) = outbox();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        assert!(inbox.poll(&Context::from_waker(&waker), true).is_pending());
        assert_eq!(outbox.push(&frame(1)), Ok(true));
        assert_eq!(outbox.push(&frame(1)), Ok(false));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        outbox.wake();
        outbox.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(sizes(&mut inbox), [1, 1]);
        assert_eq!(outbox.push(&frame(1)), Ok(true));
        let _ = take(&mut inbox, true);
        assert!(inbox.poll(&Context::from_waker(&waker), true).is_pending());
        outbox.close(Close::GoingAway);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert_eq!(outbox.push(&frame(1)), Ok(false));
    }

    #[test]
    fn an_end_comes_before_frames_and_its_first_reason_counts() {
        let (outbox, mut inbox) = outbox();
        outbox.push(&frame(1)).unwrap();
        outbox.close(Close::SlowConsumer);
        drop(outbox);
        assert!(matches!(take(&mut inbox, true), Some(Ready::Close(Close::SlowConsumer))));
        assert_eq!(inbox.closed(), Some(Close::SlowConsumer));
    }
}
