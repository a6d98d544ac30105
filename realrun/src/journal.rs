//! Journals: fixed-size records in files mapped into memory, so that recording a span is a store,
//! and what a process has recorded outlives it however it is killed.
//!
//! Every thread has a journal of its own, a sequence of segment files. A record's mark is written
//! last: a record without it was being written when its process died, and is not read.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{Ordering, compiler_fence};
use std::time::{Duration, Instant};

use memmap2::MmapMut;
use schema::ids::{ClassId, HostId, Id, RequestId, StageId};
use schema::run::{Leg, MANIFEST_FILE, Span, SpanName, Status};

use crate::error::RealrunError;

/// Size of a record, in bytes.
const RECORD: usize = 80;
/// Records in a segment: 1.3 MiB.
const SEGMENT: usize = 16_384;
/// Written last into a record, so that a torn one is recognised.
const MARK: u32 = 0x7a9d_e115;
/// File name extension of segments.
const EXTENSION: &str = "journal";

/// A thread's journal, open for writing.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    name: String,
    n_segments: u32,
    map: MmapMut,
    used: usize,
    /// What the clocks showed at the clients' common start, in nanoseconds.
    origin_ns: u64,
}

impl Journal {
    /// Makes the journal `name` in `dir`; its times will be given relative to `origin_ns`.
    ///
    /// # Errors
    /// If the file cannot be made, for instance because the disk is full.
    pub fn create(dir: &Path, name: &str) -> Result<Journal, RealrunError> {
        let map = segment(dir, name, 0)?;
        Ok(Journal {
            dir: dir.to_owned(),
            name: name.to_owned(),
            n_segments: 1,
            map,
            used: 0,
            origin_ns: 0,
        })
    }

    /// Sets what the clock showed at the clients' common start.
    pub fn set_origin(&mut self, origin_ns: u64) {
        self.origin_ns = origin_ns;
    }

    /// Makes room for `n` records, off the timed path.
    ///
    /// # Errors
    /// If the next segment cannot be made.
    ///
    /// # Panics
    /// If `n` is more than a segment holds.
    pub fn reserve(&mut self, n: usize) -> Result<(), RealrunError> {
        assert!(
            n <= SEGMENT,
            "a request has fewer spans than a segment holds"
        );
        if self.used + n > SEGMENT {
            self.map = segment(&self.dir, &self.name, self.n_segments)?;
            self.n_segments += 1;
            self.used = 0;
        }
        Ok(())
    }

    /// Records a span whose times are readings of the monotonic clock.
    ///
    /// # Panics
    /// If no room was reserved.
    pub fn record(&mut self, span: &Span) {
        let origin = self.origin_ns;
        let span = Span {
            ready_ns: span.ready_ns.saturating_sub(origin),
            start_ns: span.start_ns.saturating_sub(origin),
            end_ns: span.end_ns.saturating_sub(origin),
            ..*span
        };
        let at = self.used * RECORD;
        let record = &mut self.map[at..at + RECORD];
        encode(&span, record);
        compiler_fence(Ordering::Release);
        record[RECORD - 4..].copy_from_slice(&MARK.to_le_bytes());
        self.used += 1;
    }
}

/// Held by every process that writes into a folder of journals, for as long as it lives: a shared
/// lock of the folder's manifest.
#[derive(Debug)]
pub struct Writing {
    _locked: File,
}

impl Writing {
    /// Says that this process writes into `dir`, which holds a manifest.
    ///
    /// # Errors
    /// If there is no manifest, or it cannot be locked.
    pub fn into(dir: &Path) -> Result<Writing, RealrunError> {
        let (path, file) = manifest_of(dir)?;
        file.lock_shared()
            .map_err(RealrunError::io(format!("lock {}", path.display())))?;
        Ok(Writing { _locked: file })
    }

    /// Waits until no process writes into `dir` any more.
    ///
    /// # Errors
    /// If there is no manifest, or one still writes after `limit`.
    pub fn wait_for_end(dir: &Path, limit: Duration) -> Result<(), RealrunError> {
        let (path, file) = manifest_of(dir)?;
        let end = Instant::now() + limit;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(RealrunError::Journal {
                        path: dir.to_owned(),
                        problem: "a measurement is still writing here".to_owned(),
                    });
                }
                Err(TryLockError::Error(source)) => {
                    return Err(RealrunError::io(format!("lock {}", path.display()))(source));
                }
            }
        }
    }
}

fn manifest_of(dir: &Path) -> Result<(PathBuf, File), RealrunError> {
    let path = dir.join(MANIFEST_FILE);
    let file = File::open(&path).map_err(RealrunError::io(format!("open {}", path.display())))?;
    Ok((path, file))
}

/// Makes and maps a segment, with every page present.
fn segment(dir: &Path, name: &str, index: u32) -> Result<MmapMut, RealrunError> {
    let path = dir.join(format!("{name}.{index:04}.{EXTENSION}"));
    let what = || format!("make the journal {}", path.display());
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(RealrunError::io(what()))?;
    // Written, not only extended: a full disk is an error here instead of a signal later.
    fs::write(&path, vec![0u8; SEGMENT * RECORD]).map_err(RealrunError::io(what()))?;
    let mut map = map_shared(&file).map_err(RealrunError::io(what()))?;
    for page in map.chunks_mut(4096) {
        page[0] = 0;
    }
    Ok(map)
}

#[expect(
    unsafe_code,
    reason = "memory-mapped files are what keeps spans of a killed process"
)]
fn map_shared(file: &File) -> std::io::Result<MmapMut> {
    // SAFETY: the file was just created by this process under a name of its own inside the run
    // directory; nobody truncates it or maps it for writing while this map lives.
    unsafe { MmapMut::map_mut(file) }
}

fn encode(span: &Span, to: &mut [u8]) {
    let words = [
        span.request.as_u64(),
        span.ready_ns,
        span.start_ns,
        span.end_ns,
        span.cpu_ns,
        span.bytes,
        (span.stage.index() as u64) << 32 | span.host.index() as u64,
        (span.class.index() as u64) << 32 | u64::from(span.batch),
        u64::from(span.context) << 32 | u64::from(span.kernel.map_or(0, |kernel| kernel + 1)),
    ];
    for (word, place) in words.iter().zip(to.chunks_exact_mut(8)) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    to[72] = span.name as u8;
    to[73] = span.hop.map_or(0, |hop| hop + 1);
    to[74] = u8::from(span.leg == Leg::Reply);
    to[75] = u8::from(span.status == Status::Failed);
}

fn decode(from: &[u8]) -> Option<Span> {
    let word = |i: usize| {
        u64::from_le_bytes(
            from[8 * i..8 * i + 8]
                .try_into()
                .expect("eight bytes are a word"),
        )
    };
    let high = |i: usize| (word(i) >> 32) as usize;
    let low = |i: usize| (word(i) & 0xffff_ffff) as usize;
    Some(Span {
        branch: 0,
        kernel: (low(8) as u32).checked_sub(1),
        context: high(8) as u32,
        replication: 0,
        request: RequestId::from_u64(word(0)),
        class: ClassId::from_index(high(7)),
        stage: StageId::from_index(high(6)),
        host: HostId::from_index(low(6)),
        name: *SpanName::ALL.get(usize::from(from[72]))?,
        hop: from[73].checked_sub(1),
        leg: if from[74] == 1 {
            Leg::Reply
        } else {
            Leg::Request
        },
        batch: low(7) as u32,
        bytes: word(5),
        ready_ns: word(1),
        start_ns: word(2),
        end_ns: word(3),
        cpu_ns: word(4),
        status: if from[75] == 1 {
            Status::Failed
        } else {
            Status::Ok
        },
    })
}

/// Reads every span of every journal in `dir`, whoever wrote them and however they ended.
///
/// # Errors
/// If a journal cannot be read or holds what no journal holds.
pub fn read_all(dir: &Path) -> Result<Vec<Span>, RealrunError> {
    let listing = fs::read_dir(dir).map_err(RealrunError::io(format!("list {}", dir.display())))?;
    let mut paths: Vec<PathBuf> = listing
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == EXTENSION))
        .collect();
    paths.sort();
    let mut spans = Vec::new();
    for path in paths {
        let bytes =
            fs::read(&path).map_err(RealrunError::io(format!("read {}", path.display())))?;
        for record in bytes.chunks_exact(RECORD) {
            if record[RECORD - 4..] != MARK.to_le_bytes() {
                break;
            }
            spans.push(decode(record).ok_or_else(|| RealrunError::Journal {
                path: path.clone(),
                problem: "a record names a span that does not exist".to_owned(),
            })?);
        }
    }
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(seq: u32, name: SpanName) -> Span {
        Span {
            context: 3,
            branch: 0,
            kernel: seq.is_multiple_of(2).then_some(seq % 7),
            replication: 0,
            request: RequestId::new(schema::ids::ClientId::from_index(2), seq),
            class: ClassId::from_index(1),
            stage: StageId::from_index(3),
            host: HostId::from_index(4),
            name,
            hop: Some(1),
            leg: Leg::Reply,
            batch: 9,
            bytes: 602_112,
            ready_ns: 10,
            start_ns: 20,
            end_ns: 30,
            cpu_ns: 5,
            status: Status::Ok,
        }
    }

    #[test]
    fn spans_survive_without_the_journal_being_closed() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), "client").unwrap();
        let n = SEGMENT as u32 + 10;
        for seq in 0..n {
            journal.reserve(1).unwrap();
            journal.record(&span(seq, SpanName::Send));
        }
        std::mem::forget(journal); // As a killed process would leave it.
        let read = read_all(dir.path()).unwrap();
        let expected: Vec<Span> = (0..n).map(|seq| span(seq, SpanName::Send)).collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn a_record_without_its_mark_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), "client").unwrap();
        journal.record(&span(0, SpanName::Send));
        encode(
            &span(1, SpanName::Send),
            &mut journal.map[RECORD..2 * RECORD],
        );
        drop(journal);
        assert_eq!(read_all(dir.path()).unwrap(), [span(0, SpanName::Send)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("x.0000.journal"), bytes).unwrap();
            let _ = read_all(dir.path());
        }

        #[test]
        fn every_span_reads_back(name in 0..SpanName::ALL.len(), seq: u32, hop in 0u8..200) {
            let span = Span { hop: Some(hop), ..span(seq, SpanName::ALL[name]) };
            let mut record = [0; RECORD];
            encode(&span, &mut record);
            prop_assert_eq!(decode(&record), Some(span));
        }
    }
}
