//! Typed, dense ids: each is made only by the [`Table`] it indexes.

use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// An id that indexes a [`Table`].
pub trait Id: Copy + Ord + std::fmt::Debug {
    /// The id of the row `index`; meant for [`Table`] and for reading ids back from files.
    fn from_index(index: usize) -> Self;
    /// The row it names.
    fn index(self) -> usize;
}

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(u32);
        impl Id for $name {
            fn from_index(index: usize) -> Self {
                $name(u32::try_from(index).expect("a table holds fewer than 2^32 rows"))
            }
            fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

id! {
    /// A host of the scenario.
    HostId,
    /// A link of the scenario.
    LinkId,
    /// A switch of the scenario.
    SwitchId,
    /// A pipeline stage of the scenario.
    StageId,
    /// A group of like clients of the scenario.
    GroupId,
    /// One client: a closed loop, or one open-loop source.
    ClientId,
    /// A class of requests.
    ClassId,
    /// A set of cores that the same hosts share.
    CoreSetId,
}

/// One inference request: its client and its number among that client's requests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(u64);

impl RequestId {
    /// The request number `seq` (from zero) of `client`.
    pub fn new(client: ClientId, seq: u32) -> RequestId {
        RequestId(u64::from(client.0) << 32 | u64::from(seq))
    }

    /// The request that `raw`, made by [`as_u64`](Self::as_u64), stands for.
    pub const fn from_u64(raw: u64) -> RequestId {
        RequestId(raw)
    }

    /// One number for files and frames: the client above bit 32, the sequence number below.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Who sent it.
    pub fn client(self) -> ClientId {
        ClientId((self.0 >> 32) as u32)
    }

    /// Its number among its client's requests, from zero.
    pub const fn seq(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }
}

/// Rows indexed by one kind of id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table<I, T> {
    rows: Vec<T>,
    id: PhantomData<I>,
}

impl<I, T> Default for Table<I, T> {
    fn default() -> Self {
        Table {
            rows: Vec::new(),
            id: PhantomData,
        }
    }
}

impl<I: Id, T> Table<I, T> {
    /// Adds a row and names it.
    pub fn push(&mut self, row: T) -> I {
        self.rows.push(row);
        I::from_index(self.rows.len() - 1)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Every id, in order.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = I> + use<I, T> {
        (0..self.rows.len()).map(I::from_index)
    }

    /// Every row with its id, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (I, &T)> {
        self.rows
            .iter()
            .enumerate()
            .map(|(i, row)| (I::from_index(i), row))
    }

    /// The rows, in order.
    pub fn rows(&self) -> &[T] {
        &self.rows
    }
}

impl<I, T> FromIterator<T> for Table<I, T> {
    fn from_iter<A: IntoIterator<Item = T>>(rows: A) -> Self {
        Table {
            rows: rows.into_iter().collect(),
            id: PhantomData,
        }
    }
}

impl<I: Id, T> Index<I> for Table<I, T> {
    type Output = T;
    fn index(&self, id: I) -> &T {
        &self.rows[id.index()]
    }
}

impl<I: Id, T> IndexMut<I> for Table<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.rows[id.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_keeps_client_and_number() {
        let id = RequestId::new(ClientId::from_index(3), 7);
        assert_eq!((id.client().index(), id.seq()), (3, 7));
        assert_eq!(RequestId::from_u64(id.as_u64()), id);
    }
}
