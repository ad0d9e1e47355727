//! Arbitrary bytes, read as choices.

/// The bytes of an input, one after another.
#[derive(Debug)]
pub(super) struct Choices<'a>(std::slice::Iter<'a, u8>);

impl<'a> Choices<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(data.iter())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// The next byte; 0 behind the end.
    pub(super) fn byte(&mut self) -> usize {
        self.0.next().map_or(0, |byte| usize::from(*byte))
    }

    /// One of these; `None` where there are none.
    pub(super) fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        let at = self.byte();
        (!of.is_empty()).then(|| of[at % of.len()].clone())
    }

    /// As many of the next bytes as the next one says, or as there are.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let length = self.byte().min(self.0.len());
        let (bytes, rest) = self.0.as_slice().split_at(length);
        self.0 = rest.iter();
        bytes
    }
}
