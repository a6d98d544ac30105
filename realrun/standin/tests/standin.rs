//! The stand-in by itself, called as a driver is, in virtual time: what any program sees of it.
#![expect(
    unsafe_code,
    reason = "the functions of a driver, which are linked here instead of loaded"
)]

use std::ffi::{CString, c_char, c_int, c_uint, c_void};

use standin as _;

unsafe extern "C" {
    fn standin_configure(text: *const c_char) -> bool;
    fn standin_count(what: *const c_char) -> u64;
    fn standin_now_ns() -> u64;
    fn cuInit(flags: c_uint) -> u32;
    fn cuCtxCreate_v2(context: *mut usize, flags: c_uint, device: c_int) -> u32;
    fn cuCtxDestroy_v2(context: usize) -> u32;
    fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> u32;
    fn cuMemGetAddressRange_v2(base: *mut u64, bytes: *mut usize, address: u64) -> u32;
    fn cuPointerSetAttribute(value: *const c_void, attribute: c_int, address: u64) -> u32;
    fn cuMemGetHandleForAddressRange(
        handle: *mut c_void,
        address: u64,
        bytes: usize,
        kind: c_int,
        flags: u64,
    ) -> u32;
    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: usize) -> u32;
    fn cuStreamCreateWithPriority(stream: *mut usize, flags: c_uint, priority: c_int) -> u32;
    fn cuStreamSynchronize(stream: usize) -> u32;
}

/// The stand-in of the part `two-sms`, with these lines more.
fn configured(more: &str) -> bool {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/profiles");
    let text = format!("profile = '{root}/ideal.toml'\nclock = 'virtual'\n{more}\n");
    let text = CString::new(text).expect("no zero");
    // SAFETY: a C string.
    unsafe { standin_configure(text.as_ptr()) }
}

fn count(what: &str) -> u64 {
    let what = CString::new(what).expect("no zero");
    // SAFETY: a C string.
    unsafe { standin_count(what.as_ptr()) }
}

/// One test, since the stand-in is one a process.
#[test]
fn calls_are_answered_counted_and_failed_as_told() {
    assert!(!configured("part = 'no-time'"), "a host is no GPU");
    assert!(!configured("part = 'two-sms'\nspeed = 2"), "no such key");
    assert!(configured(
        "part = 'two-sms'\nmemory = '1 MiB'\n\
         failures = [{ call = 'cuStreamSynchronize', code = 719, after = 1, sticky = true }]"
    ));
    let (mut context, mut stream, mut address) = (0, 0, 0);
    // SAFETY: every address is of a variable that lives longer than what is under way.
    unsafe {
        assert_eq!(cuInit(0), 0);
        assert_eq!(cuMemAlloc_v2(&raw mut address, 16), 201, "no context yet");
        assert_eq!(cuCtxCreate_v2(&raw mut context, 0, 1), 101, "one device");
        assert_eq!(cuCtxCreate_v2(&raw mut context, 0, 0), 0);
        assert_eq!(cuStreamCreateWithPriority(&raw mut stream, 1, 0), 0);
        assert_eq!(cuMemAlloc_v2(&raw mut address, 2 << 20), 2, "too much");
        assert_eq!(cuMemAlloc_v2(&raw mut address, 1 << 19), 0);
        let bytes = vec![1_u8; 1 << 19];
        let copy = |bytes: &[u8]| {
            cuMemcpyHtoDAsync_v2(address, bytes.as_ptr().cast(), bytes.len(), stream)
        };
        assert_eq!(copy(&bytes), 0);
        assert_eq!(cuStreamSynchronize(stream), 0);
        // 10 us, and 524,288 B of pageable memory at 4 GB/s.
        assert_eq!(standin_now_ns(), 10_000 + 131_072);
        assert_eq!(copy(&vec![1; (1 << 19) + 1]), 1, "longer than its buffer");
        assert_eq!(cuStreamSynchronize(stream), 719);
        assert_eq!(copy(&bytes), 719, "the context has failed");
        assert_eq!([count("contexts"), count("device-buffers")], [1, 1]);
        assert_eq!(count("cuMemAlloc_v2"), 3);
        assert_eq!(cuCtxDestroy_v2(context), 0);
    }
    assert_eq!(["contexts", "streams", "device-buffers"].map(count), [0; 3]);
    memory_is_at_a_page_of_the_host_where_adapters_reach_it();
}

/// What registers memory of a GPU asks for.
fn memory_is_at_a_page_of_the_host_where_adapters_reach_it() {
    for (more, dma_buf) in [("peer-memory = true", 801), ("dma-buf = true", 0)] {
        assert!(configured(&format!("part = 'two-sms'\n{more}")));
        let (mut context, mut address, mut base, mut size, mut file) = (0, 0, 0, 0, -1);
        let yes: c_int = 1;
        // SAFETY: every address is of a variable.
        unsafe {
            assert_eq!(cuInit(0), 0);
            assert_eq!(cuCtxCreate_v2(&raw mut context, 0, 0), 0);
            assert_eq!(cuMemAlloc_v2(&raw mut address, 65_536), 0);
            let (base, size) = (&raw mut base, &raw mut size);
            assert_eq!(cuMemGetAddressRange_v2(base, size, address + 9), 0);
            assert_eq!(cuMemGetAddressRange_v2(base, size, address + 65_536), 1);
            assert_eq!(
                cuPointerSetAttribute((&raw const yes).cast(), 6, address),
                0
            );
            assert_eq!(
                cuPointerSetAttribute((&raw const yes).cast(), 7, address),
                801
            );
            let handle = (&raw mut file).cast();
            let given = cuMemGetHandleForAddressRange(handle, address, 65_536, 1, 0);
            assert_eq!(given, dma_buf);
            assert_eq!(cuCtxDestroy_v2(context), 0);
        }
        assert_eq!((base, size), (address, 65_536));
        assert_eq!(address % 4096 == 0 && address < 1 << 47, dma_buf == 801);
        assert_eq!(file >= 0, dma_buf == 0);
    }
}
