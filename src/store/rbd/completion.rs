//! Asynchronous requests to an image.
//!
//! A request owns its buffer until librbd has finished with it, whoever may have stopped waiting.
//! It ends on a thread of librbd's, which must go on at once: what is called there does little, and
//! waits for nothing ([`is_librbds_thread`]).

use std::cell::Cell;
use std::ffi::{c_int, c_void};

use super::errno::{Errno, check, check_count};
use super::image::Image;
use super::library::{Library, RawCompletion};

/// Takes a request's outcome: how many bytes, or why not, and its buffer.
pub(super) type Done<B = Vec<u8>> = Box<dyn FnOnce(Result<usize, Errno>, B) + Send>;

thread_local! {
    static LIBRBDS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is librbd's, and a request has just ended on it.  Whatever waits for librbd
/// would wait for itself here.
pub(super) fn is_librbds_thread() -> bool {
    LIBRBDS.get()
}

/// What librbd holds for us.
struct Request<B> {
    library: &'static Library,
    buffer: B,
    done: Done<B>,
}

impl Image {
    /// Starts a write of all of `buffer`.
    pub(super) fn start_write(&self, offset: u64, buffer: Vec<u8>, done: Done) {
        self.submit(buffer, done, |buffer, completion| {
            let (start, length) = (buffer.as_ptr().cast(), buffer.len());
            // SAFETY: a live image, and a buffer that stays until the completion.
            unsafe {
                (self.library().rbd_aio_write2)(self.raw(), offset, length, start, completion, 0)
            }
        });
    }

    /// Starts making a range read as zeros.
    pub(super) fn start_zero(&self, offset: u64, length: usize, done: Done) {
        self.submit(Vec::new(), done, |_, completion| {
            // SAFETY: a live image; no buffer is involved.
            unsafe {
                (self.library().rbd_aio_write_zeroes)(self.raw(), offset, length, completion, 0, 0)
            }
        });
    }

    /// Starts waiting for all that was written to be on stable storage.
    pub(super) fn start_flush(&self, done: Done) {
        self.submit(Vec::new(), done, |_, completion| {
            // SAFETY: a live image; no buffer is involved.
            unsafe { (self.library().rbd_aio_flush)(self.raw(), completion) }
        });
    }

    /// Gives a request to librbd.  `done` is called exactly once, perhaps before this returns.
    ///
    /// The image may be dropped meanwhile: closing it waits for what was started.
    pub(super) fn submit<B>(
        &self,
        buffer: B,
        done: Done<B>,
        start: impl FnOnce(&mut B, RawCompletion) -> c_int,
    ) {
        let library = self.library();
        let request = Box::into_raw(Box::new(Request { library, buffer, done }));
        let mut completion = std::ptr::null_mut();
        // SAFETY: `completed` is what the callback's type says, and takes the request back.
        let created = unsafe {
            (library.rbd_aio_create_completion)(request.cast(), completed::<B>, &raw mut completion)
        };
        let started = check(created).and_then(|_| {
            // SAFETY: the request is ours until librbd has been given the completion.
            let buffer = unsafe { &mut (*request).buffer };
            check(start(buffer, completion))
        });
        if let Err(error) = started {
            // SAFETY: what did not start never calls back, so the request is still ours.
            let request = unsafe { Box::from_raw(request) };
            if !completion.is_null() {
                // SAFETY: nobody else has it.
                unsafe { (library.rbd_aio_release)(completion) };
            }
            let Request { buffer, done, .. } = *request;
            done(Err(error), buffer);
        }
    }
}

/// What librbd calls when a request has ended.
unsafe extern "C" fn completed<B>(completion: RawCompletion, request: *mut c_void) {
    // SAFETY: `submit` made it, and each completion calls back once.
    let request = unsafe { Box::from_raw(request.cast::<Request<B>>()) };
    let Request { library, buffer, done } = *request;
    // SAFETY: the completion is live until it is released, which is done here alone.
    let answer = unsafe {
        let answer = (library.rbd_aio_get_return_value)(completion);
        (library.rbd_aio_release)(completion);
        answer
    };
    LIBRBDS.set(true);
    done(check_count(answer), buffer);
    LIBRBDS.set(false);
}
