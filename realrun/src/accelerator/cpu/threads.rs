//! Which threads compute for a context.
//!
//! With one thread a context, all its compute is on the thread that calls, so that the thread's
//! CPU clock reads the compute time, and two contexts meet only in caches and memory. Three parts
//! of candle would share threads otherwise:
//!
//! - Convolutions are split by rayon, which takes the pool that the calling thread belongs to, or
//!   else one pool for the whole process. Creating a context therefore makes a pool of which the
//!   calling thread is the first worker, once and for the life of the thread.
//! - Matrix products are cut into [`THREADS_VARIABLE`] parts, whatever the pool, and the parts run
//!   in that pool. Where the variable is not set, candle reads the number of cores from the
//!   operating system for every single product, and inference takes up to twice as long.
//! - Elementwise operations on large tensors use one pool for the whole process, which contexts
//!   would wait for. The nets do without them.

use std::cell::OnceCell;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::super::AcceleratorError;

/// Environment variable with the number of parts into which candle cuts a matrix product.
///
/// Who starts a process that infers sets it to the number of threads of a context, usually 1.
/// Otherwise results are the same, and on the same threads, but take up to twice as long.
pub const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";

thread_local! {
    /// The pool of the contexts on this thread, with its number of threads.
    static POOL: OnceCell<(usize, ThreadPool)> = const { OnceCell::new() };
}

/// Makes the calling thread the first worker of a pool of `threads`, unless it is already.
pub(super) fn join_pool(threads: usize) -> Result<(), AcceleratorError> {
    POOL.with(|pool| match pool.get() {
        Some((existing, _)) if *existing == threads => Ok(()),
        Some((existing, _)) => Err(AcceleratorError::ThreadsDiffer {
            existing: *existing,
            found: threads,
        }),
        None => {
            let made = ThreadPoolBuilder::new()
                .num_threads(threads)
                .use_current_thread()
                .build()
                .map_err(|source| AcceleratorError::Threads { threads, source })?;
            pool.set((threads, made))
                .expect("the cell was empty and belongs to this thread");
            Ok(())
        }
    })
}

/// What is wrong with `value` of [`THREADS_VARIABLE`], if anything.
pub(super) fn threads_warning(value: Option<&str>) -> Option<String> {
    let found = match value {
        Some(value) if value.parse::<usize>().is_ok_and(|threads| threads > 0) => return None,
        Some(value) => format!("{THREADS_VARIABLE} is `{value}`"),
        None => format!("{THREADS_VARIABLE} is not set"),
    };
    Some(format!(
        "{found}, so each matrix product first looks up the number of cores and inference takes \
         longer than it needs to; set it to the number of threads of a context, usually 1"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_for_the_number_of_threads_is_checked() {
        assert_eq!(threads_warning(Some("1")), None);
        insta::assert_snapshot!(
            threads_warning(Some("0")).unwrap(),
            @"RAYON_NUM_THREADS is `0`, so each matrix product first looks up the number of cores and inference takes longer than it needs to; set it to the number of threads of a context, usually 1"
        );
        assert!(
            threads_warning(None)
                .unwrap()
                .starts_with("RAYON_NUM_THREADS is not set, so")
        );
    }
}
