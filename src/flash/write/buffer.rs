//! Memory for requests that pass by the page cache: aligned, and lent out of a pool so that there is never more of it than was
//! agreed on.

use std::ops::{Deref, DerefMut};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What addresses, offsets and lengths of direct requests are multiples of, in bytes. 512 would do for most disks; this does for all.
pub const PAGE: usize = 4096;

/// Bytes that start at a multiple of [`PAGE`].
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// `size` zeros.
    pub fn new(size: usize) -> Buffer {
        let bytes = vec![0; size + PAGE];
        // The heap's memory stays where it is when the vector moves.
        let start = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        Buffer { bytes, start }
    }

    /// A copy of `bytes`, with zeros up to the next [`PAGE`].
    pub fn of(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::new(bytes.len().next_multiple_of(PAGE));
        buffer[..bytes.len()].copy_from_slice(bytes);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.bytes.len() - (PAGE - self.start)]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let end = self.bytes.len() - (PAGE - self.start);
        &mut self.bytes[self.start..end]
    }
}

/// A fixed number of buffers of one size. They are allocated when they are first needed.
pub struct Pool {
    size: usize,
    left: usize,
    returned: Receiver<Buffer>,
    back: Sender<Buffer>,
}

impl Pool {
    pub fn new(count: usize, size: usize) -> Pool {
        let (back, returned) = channel();
        Pool {
            size,
            left: count,
            returned,
            back,
        }
    }

    /// A buffer with anything in it; waits until one is given back where all are lent out.
    pub fn take(&mut self) -> Lent {
        let buffer = match self.returned.try_recv() {
            Ok(buffer) => buffer,
            Err(_) if self.left > 0 => {
                self.left -= 1;
                Buffer::new(self.size)
            }
            // The pool itself holds a sender, so that this cannot fail.
            Err(_) => self.returned.recv().unwrap_or_else(|_| Buffer::new(self.size)),
        };
        Lent {
            buffer: Some(buffer),
            back: self.back.clone(),
        }
    }
}

/// A buffer of a pool, which goes back there when it is dropped.
pub struct Lent {
    buffer: Option<Buffer>,
    back: Sender<Buffer>,
}

impl Deref for Lent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buffer.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // Without the pool nobody wants it any more.
            let _ = self.back.send(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_of_their_size() {
        for size in [PAGE, 4 << 20, 3 * PAGE] {
            let mut buffer = Buffer::new(size);
            assert_eq!((buffer.len(), buffer.as_ptr() as usize % PAGE), (size, 0));
            buffer.fill(7);
            let moved = Box::new(buffer);
            assert_eq!((moved[size - 1], moved.as_ptr() as usize % PAGE), (7, 0));
        }
        let padded = Buffer::of(&[1; 5000]);
        assert_eq!((padded.len(), padded[4999], padded[5000]), (2 * PAGE, 1, 0));
    }

    #[test]
    fn a_pool_lends_no_more_than_it_has() {
        let mut pool = Pool::new(2, PAGE);
        let (mut a, b) = (pool.take(), pool.take());
        a[0] = 42;
        let back = std::thread::spawn(move || drop(a));
        let c = pool.take();
        assert_eq!(c[0], 42);
        back.join().unwrap();
        drop((b, c));
        drop(pool.take());
    }
}
