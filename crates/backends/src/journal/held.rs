//! Something of Kafka's C library that must be given back. What is `unsafe` about the driver is
//! here, in `bulk` and in `topic_id`, and nowhere else.

/// A pointer that is given back when this is dropped, unless it is null.
pub(super) struct Held<T> {
    pub(super) pointer: *mut T,
    /// What the C library wants to be called, once.
    pub(super) give_back: unsafe extern "C" fn(*mut T),
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        if !self.pointer.is_null() {
            // SAFETY: the pointer came from the constructor that belongs to `give_back`, is not
            // null, and nobody has given it back: only this type does, once.
            unsafe { (self.give_back)(self.pointer) }
        }
    }
}
