//! Verbs devices of this machine.

use std::ffi::{CStr, c_int};
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;

use ibverbs_sys as sys;

use super::failure::Failure;
use super::library::{Functions, checked, library, made};

/// The port of a device that is used.
pub(super) const PORT: u8 = 1;

/// Names of the devices of this machine.
pub(super) fn devices() -> Result<Vec<String>, Failure> {
    with_devices(|functions, devices| {
        Ok(devices
            .iter()
            .map(|device| name_of(functions, *device))
            .collect())
    })
}

#[expect(unsafe_code, reason = "a call of libibverbs")]
fn with_devices<T>(
    look: impl FnOnce(&'static Functions, &[*mut sys::ibv_device]) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let functions = library()?;
    let mut n: c_int = 0;
    // SAFETY: `n` is a live integer, to which the number of devices is written.
    let list = unsafe { (functions.get_device_list)(&raw mut n) };
    let list = made("ibv_get_device_list", list)?;
    let n = usize::try_from(n).expect("a number of devices is not negative");
    // SAFETY: the library says that the array has `n` devices; it is freed below, after its use.
    let found = look(functions, unsafe {
        std::slice::from_raw_parts(list.as_ptr(), n)
    });
    // SAFETY: the array is the library's and is used no more. Devices that are open stay valid.
    unsafe { (functions.free_device_list)(list.as_ptr()) };
    found
}

#[expect(unsafe_code, reason = "a call of libibverbs")]
fn name_of(functions: &Functions, device: *mut sys::ibv_device) -> String {
    // SAFETY: the device is of a list that has not been freed; its name is a C string in it.
    let name = unsafe { CStr::from_ptr((functions.get_device_name)(device)) };
    name.to_string_lossy().into_owned()
}

/// A device that has been opened, with a protection domain.
pub(super) struct Device {
    pub(super) functions: &'static Functions,
    pub(super) context: NonNull<sys::ibv_context>,
    pub(super) pd: NonNull<sys::ibv_pd>,
    name: String,
}

#[expect(unsafe_code, reason = "addresses of what libibverbs owns")]
// SAFETY: contexts and protection domains may be used by any thread, several at once
// (libibverbs' README: all of its calls are thread-safe).
unsafe impl Send for Device {}
#[expect(unsafe_code, reason = "addresses of what libibverbs owns")]
// SAFETY: as above.
unsafe impl Sync for Device {}

/// What a device's port is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PortState {
    /// Whether it carries messages.
    pub(super) is_active: bool,
    /// `enum ibv_mtu` of the largest packet's payload that the network takes: 256 B << (it - 1).
    pub(super) mtu: u8,
    /// The longest message, in bytes.
    pub(super) max_message: u32,
}

impl Device {
    /// Opens the device called `name`.
    #[expect(unsafe_code, reason = "calls of libibverbs")]
    pub(super) fn open(name: &str) -> Result<Arc<Device>, Failure> {
        with_devices(|functions, devices| {
            let is_it = |device: &&*mut sys::ibv_device| name_of(functions, **device) == name;
            let Some(device) = devices.iter().find(is_it) else {
                let names = devices.iter().map(|device| name_of(functions, *device));
                let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
                let problem = format!("there is none of this name, but {}", names.join(", "));
                return Err(Failure::new("ibv_open_device", problem));
            };
            // SAFETY: the device is of a list that has not been freed.
            let context = made("ibv_open_device", unsafe {
                (functions.open_device)(*device)
            })?;
            // SAFETY: the context was opened above.
            let pd = made("ibv_alloc_pd", unsafe {
                (functions.alloc_pd)(context.as_ptr())
            });
            let pd = pd.inspect_err(|_| {
                // SAFETY: nothing has been made in the context.
                unsafe { (functions.close_device)(context.as_ptr()) };
            })?;
            let device = Device {
                functions,
                context,
                pd,
                name: name.to_owned(),
            };
            // Several connections may be told of an event, of which one can take it.
            let unblocked = rustix::io::ioctl_fionbio(device.events(), true);
            unblocked.map_err(|errno| Failure::of_call("ioctl FIONBIO", &errno.into()))?;
            Ok(Arc::new(device))
        })
        .map_err(|failure| failure.on(name))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    #[expect(unsafe_code, reason = "a call of libibverbs")]
    pub(super) fn port(&self) -> Result<PortState, Failure> {
        let mut attributes = sys::ibv_port_attr::default();
        // SAFETY: the context is open, and `attributes` has room for what is written.
        let errno = unsafe {
            (self.functions.query_port)(self.context.as_ptr(), PORT, (&raw mut attributes).cast())
        };
        checked("ibv_query_port", errno).map_err(|failure| failure.on(&self.name))?;
        Ok(PortState {
            is_active: attributes.state == sys::ibv_port_state::IBV_PORT_ACTIVE,
            mtu: attributes.active_mtu as u8,
            max_message: attributes.max_msg_sz,
        })
    }
}

impl Device {
    /// Readable when there is news of the device.
    #[expect(unsafe_code, reason = "a field of a structure of libibverbs")]
    pub(super) fn events(&self) -> BorrowedFd<'_> {
        // SAFETY: the context, and with it the file descriptor, is open as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.context.as_ref().async_fd) }
    }

    /// Hears the news that [`events`](Self::events) tells of.
    ///
    /// # Errors
    /// If the device has gone or its port is down. That news is left, since all of the device's
    /// connections are to hear it.
    #[expect(unsafe_code, reason = "calls of libibverbs")]
    pub(super) fn hear(&self) -> Result<(), Failure> {
        self.is_up()?;
        let mut event = sys::ibv_async_event::default();
        // SAFETY: the context is open, and `event` has room for what is written; it does not block.
        // An event that has been taken is acknowledged once.
        unsafe {
            let take = self.functions.get_async_event;
            if take(self.context.as_ptr(), &raw mut event) == 0 {
                (self.functions.ack_async_event)(&raw mut event);
            }
        }
        Ok(())
    }

    /// Checks that the device is there and its port carries messages.
    pub(super) fn is_up(&self) -> Result<(), Failure> {
        let port = self
            .port()
            .map_err(|failure| failure.because("was the device removed, or its driver?"))?;
        if port.is_active {
            return Ok(());
        }
        Err(Failure::inactive("ibv_query_port").on(&self.name))
    }
}

impl Drop for Device {
    #[expect(unsafe_code, reason = "calls of libibverbs")]
    fn drop(&mut self) {
        // SAFETY: queue pairs hold their device, so nothing of it is left; both are used no more.
        unsafe {
            (self.functions.dealloc_pd)(self.pd.as_ptr());
            (self.functions.close_device)(self.context.as_ptr());
        }
    }
}
