//! The binding to Envoy's interface for dynamic modules: the hooks that Envoy calls, and its callbacks. All unsafe code is here.
//!
//! Envoy promises that a pointer that it passes to a hook is valid until the hook returns, and that it calls the hooks of one
//! stream on one thread. It may call further hooks of a stream while a hook of it responds or continues the request. One of
//! these may destroy the stream. So each hook holds its own share of the stream.
//!
//! No panic leaves a hook: it would end Envoy.

#[macro_use]
pub(crate) mod exports;
mod raw;
mod stream;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub(crate) use stream::{
    Attribute, BodyPart, CallResponse, EnvoyConfig, EnvoyStream, HeaderMap, HeaderPair, LogLevel, MetricId,
    log,
};

use blobgate::head::Ending;
pub(crate) use raw::{HeaderBytes, RawBytes};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;

/// A dynamic module: what a hook does, in safe code. One value serves all workers.
pub(crate) trait Module: Send + Sync + Sized + 'static {
    /// The state of a stream. Envoy uses it on one thread only.
    type Stream: 'static;

    /// Envoy has loaded the module.
    fn start();
    /// Loads a configuration; `None` if it is invalid. Envoy then rejects the listener.
    fn load(envoy: EnvoyConfig<'_>, configuration: &[u8]) -> Option<Self>;
    /// Refuses a configuration of a route: the module has none.
    fn refuse_route_configuration();
    /// A stream before its request headers.
    fn open(&self) -> Self::Stream;
    fn on_request_headers(stream: &Self::Stream, envoy: EnvoyStream<'_>, ending: Ending) -> HookStep;
    fn on_request_body(stream: &Self::Stream, envoy: EnvoyStream<'_>, ending: Ending) -> BodyStep;
    fn on_request_trailers(stream: &Self::Stream, envoy: EnvoyStream<'_>) -> HookStep;
    /// The response to a call; `None` where no response came.
    fn on_call_response(stream: &Self::Stream, envoy: EnvoyStream<'_>, response: Option<&CallResponse<'_>>);
    /// Envoy responds itself. Its response then passes the hooks of responses.
    fn on_local_reply(stream: &Self::Stream, details: &[u8]);
    fn on_response_headers(stream: &Self::Stream, envoy: EnvoyStream<'_>, ending: Ending) -> HookStep;
    fn on_response_body(stream: &Self::Stream, envoy: EnvoyStream<'_>);
    fn on_response_trailers(stream: &Self::Stream, envoy: EnvoyStream<'_>);
    /// The stream ends. The access log comes after this.
    fn on_complete(stream: &Self::Stream, envoy: EnvoyStream<'_>);
    /// A hook has panicked.
    fn on_panic(stream: &Self::Stream, envoy: EnvoyStream<'_>, phase: Phase);
}

/// Envoy's next step with headers and trailers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookStep {
    Continue,
    Stop,
}

/// Envoy's next step with a part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyStep {
    Continue,
    Buffer,
    /// Envoy drops the part: the request has its response.
    Discard,
}

/// The phase of a stream in which a hook panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Request,
    ResponseHeaders,
    /// The client has the head of the response.
    ResponseBody,
    /// Nothing follows.
    Complete,
}

/// The module's part of a stream, which Envoy has as a pointer.
struct HeldStream<S> {
    stream: S,
    is_destroyed: Cell<bool>,
}

/// The versions of the interface of Envoy 1.38 and of Envoy 1.40. The module uses what both have. Envoy logs a warning about a
/// module with another version than its own.
const VERSIONS: [&CStr; 2] = [c"v0.1.0", c"v0.2.0"];

pub(crate) fn program_init<M: Module>() -> *const c_char {
    let _ = guarded(M::start);
    let [older, newer] = VERSIONS;
    if stream::config_set_gauge().is_some() { newer.as_ptr() } else { older.as_ptr() }
}

/// # Safety
/// `config` is Envoy's object, and the bytes are valid during the call.
pub(crate) unsafe fn config_new<M: Module>(config: *mut c_void, configuration: Buffer) -> *const c_void {
    let load = || {
        // SAFETY: the caller promises valid bytes.
        let configuration = unsafe { configuration.0.as_slice() };
        // SAFETY: the caller promises a valid object, and `load` returns before the hook does.
        let envoy = unsafe { EnvoyConfig::new(config) };
        M::load(envoy, configuration)
    };
    match guarded(load) {
        Some(Some(module)) => Box::into_raw(Box::new(module)).cast_const().cast(),
        _ => ptr::null(),
    }
}

/// # Safety
/// `module` is from [`config_new`], and nothing uses it after this.
pub(crate) unsafe fn config_destroy<M: Module>(module: *const c_void) {
    if !module.is_null() {
        // SAFETY: `config_new` made the pointer from such a box, and the caller promises that this is its last use.
        let module: Box<M> = unsafe { Box::from_raw(module.cast_mut().cast()) };
        let _ = guarded(|| drop(module));
    }
}

pub(crate) fn route_config_new<M: Module>() -> *const c_void {
    let _ = guarded(M::refuse_route_configuration);
    ptr::null()
}

/// # Safety
/// `module` is from [`config_new`].
pub(crate) unsafe fn stream_new<M: Module>(module: *const c_void) -> *const c_void {
    // SAFETY: `config_new` made the pointer from such a box. Envoy destroys the configuration after its streams.
    let Some(module) = (unsafe { module.cast::<M>().as_ref() }) else { return ptr::null() };
    let open = || Rc::new(HeldStream { stream: module.open(), is_destroyed: Cell::new(false) });
    guarded(open).map_or(ptr::null(), |stream| Rc::into_raw(stream).cast())
}

/// # Safety
/// `stream` is from [`stream_new`], and Envoy does not use it after this.
pub(crate) unsafe fn stream_destroy<M: Module>(stream: *const c_void) {
    if !stream.is_null() {
        // SAFETY: `stream_new` made the pointer from such a share, and the caller promises that this is its last use.
        let stream: Rc<HeldStream<M::Stream>> = unsafe { Rc::from_raw(stream.cast()) };
        stream.is_destroyed.set(true);
        let _ = guarded(|| drop(stream));
    }
}

/// Runs a hook of a stream. After a panic it runs the module's hook for that, and returns `otherwise`.
///
/// # Safety
/// `stream` is from [`stream_new`] and not destroyed, and `envoy` is Envoy's object of it.
pub(crate) unsafe fn hook<M: Module, R>(
    envoy: *mut c_void,
    stream: *const c_void,
    (phase, otherwise): (Phase, R),
    run: impl FnOnce(&M::Stream, EnvoyStream<'_>) -> R,
) -> R {
    let stream: *const HeldStream<M::Stream> = stream.cast();
    if stream.is_null() {
        return otherwise;
    }
    // SAFETY: `stream_new` made the pointer from such a share, which still exists.
    unsafe { Rc::increment_strong_count(stream) };
    // SAFETY: the share of the line above.
    let held = unsafe { Rc::from_raw(stream) };
    // SAFETY: the caller promises a valid object.
    let object = || unsafe { EnvoyStream::new(envoy) };
    let result = guarded(|| run(&held.stream, object())).unwrap_or_else(|| {
        if !held.is_destroyed.get() {
            let _ = guarded(|| M::on_panic(&held.stream, object(), phase));
        }
        otherwise
    });
    let _ = guarded(|| drop(held));
    result
}

/// # Safety
/// As for [`hook`]. `headers` and `chunks` are arrays of these lengths or null, and valid during the call.
pub(crate) unsafe fn call_done<M: Module>(
    envoy: *mut c_void,
    stream: *const c_void,
    result: u32,
    (headers, header_count): (*const HeaderBytes, usize),
    (chunks, chunk_count): (*const RawBytes, usize),
) {
    let run = |stream: &M::Stream, envoy: EnvoyStream<'_>| {
        // SAFETY: the caller promises an array.
        let headers = unsafe { slice(headers, header_count) };
        // SAFETY: the caller promises an array.
        let chunks = unsafe { slice(chunks, chunk_count) };
        // SAFETY: the caller promises valid bytes.
        let response = unsafe { CallResponse::new(headers, chunks) };
        M::on_call_response(stream, envoy, (result == raw::SUCCESS).then_some(&response));
    };
    // SAFETY: the caller promises it.
    unsafe { hook::<M, ()>(envoy, stream, (Phase::Request, ()), run) }
}

/// # Safety
/// As for [`hook`]. The bytes are valid during the call.
pub(crate) unsafe fn local_reply<M: Module>(envoy: *mut c_void, stream: *const c_void, details: Buffer) {
    let run = |stream: &M::Stream, _: EnvoyStream<'_>| {
        // SAFETY: the caller promises valid bytes.
        M::on_local_reply(stream, unsafe { details.0.as_slice() });
    };
    // SAFETY: the caller promises it.
    unsafe { hook::<M, ()>(envoy, stream, (Phase::Complete, ()), run) }
}

/// Runs `run`; `None` after a panic. The drop of a payload may panic with another payload, which is then forgotten.
fn guarded<R>(run: impl FnOnce() -> R) -> Option<R> {
    let drop_payload = |payload| {
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(second);
        }
    };
    catch_unwind(AssertUnwindSafe(run)).map_err(drop_payload).ok()
}

/// # Safety
/// `start` has `length` valid items that do not change during `'a`, or is null.
unsafe fn slice<'a, T>(start: *const T, length: usize) -> &'a [T] {
    if start.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: the caller promises it.
    unsafe { std::slice::from_raw_parts(start, length) }
}

/// RawBytes of Envoy, as an argument of a hook.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer(RawBytes);

pub(crate) fn ending(is_last: bool) -> Ending {
    if is_last { Ending::Here } else { Ending::Later }
}

impl HookStep {
    pub(crate) fn status(self) -> u32 {
        match self {
            HookStep::Continue => 0,
            HookStep::Stop => 1,
        }
    }
}

impl BodyStep {
    pub(crate) fn status(self) -> u32 {
        match self {
            BodyStep::Continue => 0,
            BodyStep::Buffer => 1,
            BodyStep::Discard => 3,
        }
    }
}
