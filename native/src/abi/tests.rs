//! Panics in the hooks of a module, and pointers that are null.

#![allow(clippy::multiple_unsafe_ops_per_block, reason = "only in tests")]

use super::*;
use std::cell::RefCell;
use std::panic::panic_any;

thread_local! {
    /// The calls of the module's hooks on this thread.
    static CALLS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn note(call: &str) {
    CALLS.with_borrow_mut(|calls| calls.push(call.to_owned()));
}

fn calls() -> Vec<String> {
    CALLS.with_borrow_mut(std::mem::take)
}

/// A module that panics in every hook.
struct Panicking;

/// A payload of a panic whose drop panics too.
struct Loud;

impl Drop for Loud {
    fn drop(&mut self) {
        // No allocation: the payload of this panic is forgotten.
        panic_any(());
    }
}

/// A stream whose drop panics.
struct LoudStream;

impl Drop for LoudStream {
    fn drop(&mut self) {
        note("drop");
        panic!("a drop");
    }
}

impl Module for Panicking {
    type Stream = LoudStream;

    fn start() {
        panic!("start");
    }

    fn load(_envoy: EnvoyConfig<'_>, configuration: &[u8]) -> Option<Self> {
        assert!(configuration.is_empty(), "load");
        Some(Self)
    }

    fn refuse_route_configuration() {
        panic!("route");
    }

    fn open(&self) -> LoudStream {
        LoudStream
    }

    fn on_request_headers(_: &LoudStream, _: EnvoyStream<'_>, _: Ending) -> HookStep {
        panic!("headers");
    }

    fn on_request_body(_: &LoudStream, _: EnvoyStream<'_>, _: Ending) -> BodyStep {
        panic_any(Loud);
    }

    fn on_request_trailers(_: &LoudStream, _: EnvoyStream<'_>) -> HookStep {
        panic!("trailers");
    }

    fn on_call_response(_: &LoudStream, _: EnvoyStream<'_>, response: Option<&CallResponse<'_>>) {
        note(&format!("{:?}", response.map(|response| (response.header(":status"), response.body(9)))));
        panic!("call");
    }

    fn on_local_reply(_: &LoudStream, _: &[u8]) {
        panic!("local reply");
    }

    fn on_response_headers(_: &LoudStream, _: EnvoyStream<'_>, _: Ending) -> HookStep {
        panic!("response");
    }

    fn on_response_body(_: &LoudStream, _: EnvoyStream<'_>) {
        panic!("response body");
    }

    fn on_response_trailers(_: &LoudStream, _: EnvoyStream<'_>) {
        panic!("response trailers");
    }

    fn on_complete(_: &LoudStream, _: EnvoyStream<'_>) {
        panic!("complete");
    }

    fn on_panic(_: &LoudStream, _: EnvoyStream<'_>, phase: Phase) {
        note(&format!("{phase:?}"));
        panic!("a panic after a panic");
    }
}

/// A pointer that these hooks never follow.
fn envoy() -> *mut c_void {
    ptr::dangling_mut()
}

/// Runs a hook that panics.
#[track_caller]
fn ends<R: Copy + PartialEq + std::fmt::Debug>(
    stream: *const c_void,
    phase: Phase,
    otherwise: R,
    run: impl FnOnce(&LoudStream, EnvoyStream<'_>) -> R,
) {
    // SAFETY: the stream exists.
    let result = unsafe { hook::<Panicking, R>(envoy(), stream, (phase, otherwise), run) };
    assert_eq!((result, calls()), (otherwise, vec![format!("{phase:?}")]));
}

#[test]
fn no_panic_leaves_a_hook() {
    // SAFETY: each text ends with a zero.
    let version = unsafe { CStr::from_ptr(program_init::<Panicking>()) };
    assert_eq!(version, c"v0.1.0");
    assert!(route_config_new::<Panicking>().is_null());
    let text = Buffer(RawBytes::of(b"{}"));
    // SAFETY: the text lives on.
    assert!(unsafe { config_new::<Panicking>(envoy(), text) }.is_null());
    // SAFETY: there are no bytes.
    let module = unsafe { config_new::<Panicking>(envoy(), Buffer(RawBytes::NULL)) };
    // SAFETY: the module exists.
    let stream = unsafe { stream_new::<Panicking>(module) };
    let (request, response) = (Phase::Request, Phase::ResponseBody);
    ends(stream, request, HookStep::Stop, |s, e| Panicking::on_request_headers(s, e, Ending::Here));
    ends(stream, request, BodyStep::Discard, |s, e| Panicking::on_request_body(s, e, Ending::Here));
    ends(stream, request, HookStep::Stop, Panicking::on_request_trailers);
    ends(stream, Phase::ResponseHeaders, HookStep::Stop, |s, e| {
        Panicking::on_response_headers(s, e, Ending::Here)
    });
    ends(stream, response, (), Panicking::on_response_body);
    ends(stream, response, (), Panicking::on_response_trailers);
    ends(stream, Phase::Complete, (), Panicking::on_complete);
    // SAFETY: the stream exists, and there are no bytes.
    unsafe { local_reply::<Panicking>(envoy(), stream, Buffer(RawBytes::NULL)) };
    assert_eq!(calls(), ["Complete"]);
    // SAFETY: the stream exists, and the arrays are null whatever their lengths.
    unsafe { call_done::<Panicking>(envoy(), stream, 0, (ptr::null(), 7), (ptr::null(), 7)) };
    assert_eq!(calls(), ["Some((None, []))", "Request"]);
    // SAFETY: the stream exists, and the arrays are null.
    unsafe { call_done::<Panicking>(envoy(), stream, 2, (ptr::null(), 0), (ptr::null(), 0)) };
    assert_eq!(calls(), ["None", "Request"]);
    // SAFETY: nothing uses the stream after this.
    unsafe { stream_destroy::<Panicking>(stream) };
    assert_eq!(calls(), ["drop"]);
    // SAFETY: nothing uses the module after this.
    unsafe { config_destroy::<Panicking>(module) };
}

#[test]
fn a_null_stream_waits() {
    // SAFETY: null pointers are allowed.
    unsafe {
        assert!(stream_new::<Panicking>(ptr::null()).is_null());
        let step = hook::<Panicking, _>(envoy(), ptr::null(), (Phase::Request, HookStep::Stop), |_, _| {
            panic!("no stream")
        });
        assert_eq!(step, HookStep::Stop);
        stream_destroy::<Panicking>(ptr::null());
        config_destroy::<Panicking>(ptr::null());
    }
    assert_eq!(calls(), [""; 0]);
}

#[test]
fn a_stream_that_its_own_hook_destroys_lives_until_the_hook_returns() {
    // SAFETY: there are no bytes.
    let module = unsafe { config_new::<Panicking>(envoy(), Buffer(RawBytes::NULL)) };
    // SAFETY: the module exists.
    let stream = unsafe { stream_new::<Panicking>(module) };
    let run = |_: &LoudStream, _: EnvoyStream<'_>| {
        // SAFETY: as Envoy, the test does not use the stream after this.
        unsafe { stream_destroy::<Panicking>(stream) };
        note("destroyed");
        panic!("after the end");
    };
    // SAFETY: the stream exists.
    unsafe { hook::<Panicking, ()>(envoy(), stream, (Phase::Request, ()), run) };
    assert_eq!(calls(), ["destroyed", "drop"], "no hook of a panic after the end");
    // SAFETY: nothing uses the module after this.
    unsafe { config_destroy::<Panicking>(module) };
}
