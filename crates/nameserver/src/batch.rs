//! Queries that came together and are answered together.

use crate::client::Client;

/// A batch of queries, each with the place for its response; whoever received them keeps both.
#[expect(clippy::len_without_is_empty, reason = "nobody asks; an empty batch is as good as any")]
pub trait Batch {
    /// Who has sent a query.
    type Client<'c>: Client;

    /// How many queries.
    fn len(&self) -> usize;

    /// The query with this index, below [`Batch::len`].
    fn query(&self, index: usize) -> &[u8];

    /// Hands the query, who has sent it, and the place for its response to `answer`, which says how many octets are to be sent; 0 means
    /// none. Called once for each query, in order.
    fn reply(&mut self, index: usize, answer: impl FnOnce(&[u8], &Self::Client<'_>, &mut [u8]) -> usize);
}
