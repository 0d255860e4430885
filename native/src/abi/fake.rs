//! An Envoy for the tests of this crate: it defines the callbacks, and calls the hooks by their names as Envoy does.
//!
//! The module passes valid pointers to the callbacks, and no reference to an object of this file lives while a hook runs. That
//! makes each of these blocks sound. Miri and AddressSanitizer check it.

#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    reason = "only in tests; the reason is above"
)]

use super::raw::{HeaderBytes, RawBytes};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::Mutex;

pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
/// The headers of a response to a call, and its body's chunks.
pub(crate) type FakeResponse<'a> = (&'a [(&'a str, &'a [u8])], &'a [&'a [u8]]);

/// The lines of the log, of all tests.
static LOG: Mutex<Vec<(u32, String)>> = Mutex::new(Vec::new());

/// The lines that contain a text.
pub(crate) fn logged(part: &str) -> Vec<String> {
    let lines = LOG.lock().unwrap();
    let lines = lines.iter().filter(|(_, line)| line.contains(part));
    lines.map(|(level, line)| format!("{level} {line}")).collect()
}

/// A loaded configuration. Its drop destroys it.
pub(crate) struct FakeEnvoy {
    module: *const c_void,
    /// Envoy's object. Its metrics have their names with labels and values.
    config: *mut FakeConfig,
}

#[derive(Debug, Default)]
pub(crate) struct FakeConfig {
    /// Names with labels.
    defined: Vec<(String, Vec<String>)>,
    pub(crate) values: BTreeMap<String, u64>,
    is_frozen: bool,
}

/// Envoy's object of a stream.
#[derive(Debug)]
pub(crate) struct Fake {
    config: *mut FakeConfig,
    module: *const c_void,
    /// In the order of [`super::HeaderMap`].
    pub(crate) maps: [Pairs; 4],
    /// Request and response: what the hook just gets.
    received: [Option<Vec<Vec<u8>>>; 2],
    buffered: Vec<Vec<u8>>,
    /// Another filter has buffered the body before.
    pub(crate) has_one_part: bool,
    pub(crate) limit: u64,
    pub(crate) attributes: BTreeMap<u32, Vec<u8>>,
    pub(crate) state: BTreeMap<String, Vec<u8>>,
    pub(crate) cleared_routes: usize,
    pub(crate) continued: usize,
    /// The bodies of calls' requests: the headers.
    pub(crate) calls: Vec<Pairs>,
    pub(crate) starts_no_call: bool,
    pub(crate) sent: Vec<Sent>,
    /// Envoy destroys the stream as soon as it has a response or continues.
    pub(crate) dies_when_answered: bool,
    pub(crate) is_destroyed: bool,
}

/// What Envoy sent to the client for the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Headers(Vec<(String, String)>),
    Local { status: u32, headers: Vec<(String, String)>, body: String, details: String },
    Reset,
}

/// A stream. Its drop ends it.
pub(crate) struct FakeStream(*mut Fake);

unsafe extern "C" {
    fn envoy_dynamic_module_on_program_init() -> *const std::ffi::c_char;
    fn envoy_dynamic_module_on_http_filter_config_new(
        config: *mut c_void,
        name: RawBytes,
        configuration: RawBytes,
    ) -> *const c_void;
    fn envoy_dynamic_module_on_http_filter_config_destroy(module: *const c_void);
    fn envoy_dynamic_module_on_http_filter_per_route_config_new(
        name: RawBytes,
        configuration: RawBytes,
    ) -> *const c_void;
    fn envoy_dynamic_module_on_http_filter_new(module: *const c_void, envoy: *mut c_void) -> *const c_void;
    fn envoy_dynamic_module_on_http_filter_destroy(stream: *const c_void);
    fn envoy_dynamic_module_on_http_filter_request_headers(
        envoy: *mut c_void,
        stream: *const c_void,
        is_last: bool,
    ) -> u32;
    fn envoy_dynamic_module_on_http_filter_request_body(
        envoy: *mut c_void,
        stream: *const c_void,
        is_last: bool,
    ) -> u32;
    fn envoy_dynamic_module_on_http_filter_request_trailers(envoy: *mut c_void, stream: *const c_void)
    -> u32;
    fn envoy_dynamic_module_on_http_filter_http_callout_done(
        envoy: *mut c_void,
        stream: *const c_void,
        call: u64,
        result: u32,
        headers: *const HeaderBytes,
        header_count: usize,
        chunks: *const RawBytes,
        chunk_count: usize,
    );
    fn envoy_dynamic_module_on_http_filter_response_headers(
        envoy: *mut c_void,
        stream: *const c_void,
        is_last: bool,
    ) -> u32;
    fn envoy_dynamic_module_on_http_filter_response_body(
        envoy: *mut c_void,
        stream: *const c_void,
        is_last: bool,
    ) -> u32;
    fn envoy_dynamic_module_on_http_filter_response_trailers(
        envoy: *mut c_void,
        stream: *const c_void,
    ) -> u32;
    fn envoy_dynamic_module_on_http_filter_stream_complete(envoy: *mut c_void, stream: *const c_void);
    fn envoy_dynamic_module_on_http_filter_local_reply(
        envoy: *mut c_void,
        stream: *const c_void,
        status: u32,
        details: RawBytes,
        resets: bool,
    ) -> u32;
}

/// The version that the module reports.
pub(crate) fn program_init() -> String {
    // SAFETY: the hook takes nothing, and returns a text that is never freed.
    unsafe { std::ffi::CStr::from_ptr(envoy_dynamic_module_on_program_init()) }.to_str().unwrap().to_owned()
}

/// Whether the module refuses the configuration of a route.
pub(crate) fn refuses_route_configuration() -> bool {
    // SAFETY: the bytes live during the call.
    unsafe {
        envoy_dynamic_module_on_http_filter_per_route_config_new(
            RawBytes::of(b"blobgate"),
            RawBytes::of(b"{}"),
        )
    }
    .is_null()
}

impl FakeEnvoy {
    /// Loads a configuration; `None` if the module rejects it.
    pub(crate) fn load(configuration: &[u8]) -> Option<Self> {
        let config = Box::into_raw(Box::<FakeConfig>::default());
        let name = RawBytes::of(b"blobgate");
        // SAFETY: the object and the bytes live during the call.
        let module = unsafe {
            envoy_dynamic_module_on_http_filter_config_new(config.cast(), name, RawBytes::of(configuration))
        };
        // SAFETY: nothing else uses the object now.
        unsafe { (*config).is_frozen = true };
        let envoy = Self { module, config };
        (!module.is_null()).then_some(envoy)
    }

    /// A request.
    pub(crate) fn stream(&self, headers: &[(&str, &[u8])]) -> FakeStream {
        let request =
            headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
        let fake = Box::into_raw(Box::new(Fake {
            config: self.config,
            module: ptr::null(),
            maps: [request, vec![], vec![], vec![]],
            received: [None, None],
            buffered: vec![],
            has_one_part: false,
            limit: 1000,
            attributes: BTreeMap::from([(24, b"127.0.0.1:4000".to_vec())]),
            state: BTreeMap::new(),
            cleared_routes: 0,
            continued: 0,
            calls: vec![],
            starts_no_call: false,
            sent: vec![],
            dies_when_answered: false,
            is_destroyed: false,
        }));
        // SAFETY: the module and the object exist.
        let module = unsafe { envoy_dynamic_module_on_http_filter_new(self.module, fake.cast()) };
        let stream = FakeStream(fake);
        stream.with(|fake| fake.module = module);
        stream
    }

    /// The value of a metric; its name has its labels. `None` if it was never defined or set.
    pub(crate) fn metric(&self, name: &str) -> Option<u64> {
        // SAFETY: no hook runs now.
        unsafe { &*self.config }.values.get(name).copied()
    }

    /// The sum of the metrics with this text in their names.
    pub(crate) fn counted(&self, part: &str) -> u64 {
        // SAFETY: no hook runs now.
        let values = unsafe { &(*self.config).values };
        values.iter().filter(|(name, _)| name.contains(part)).map(|(_, value)| value).sum()
    }
}

impl Drop for FakeEnvoy {
    fn drop(&mut self) {
        // SAFETY: Envoy ends the streams first, and so do the tests.
        unsafe {
            envoy_dynamic_module_on_http_filter_config_destroy(self.module);
            drop(Box::from_raw(self.config));
        }
    }
}

impl FakeStream {
    /// Reads or changes Envoy's object between hooks.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Fake) -> R) -> R {
        // SAFETY: no hook runs now, and the object exists until the drop.
        act(unsafe { &mut *self.0 })
    }

    fn module(&self) -> *const c_void {
        self.with(|fake| fake.module)
    }

    pub(crate) fn request_headers(&self, is_last: bool) -> u32 {
        // SAFETY: both objects exist.
        unsafe { envoy_dynamic_module_on_http_filter_request_headers(self.0.cast(), self.module(), is_last) }
    }

    /// The chunks stay in the buffer if the module wants it.
    pub(crate) fn request_body(&self, chunks: &[&[u8]], is_last: bool) -> u32 {
        self.with(|fake| fake.received[0] = Some(chunks.iter().map(|chunk| chunk.to_vec()).collect()));
        // SAFETY: both objects exist.
        let status = unsafe {
            envoy_dynamic_module_on_http_filter_request_body(self.0.cast(), self.module(), is_last)
        };
        self.with(|fake| {
            let received = fake.received[0].take().unwrap();
            fake.buffered.extend((status == 1).then_some(received).into_iter().flatten());
        });
        status
    }

    /// Another filter has buffered the body: Envoy has it twice.
    pub(crate) fn request_body_of_buffer(&self, chunks: &[&[u8]]) -> u32 {
        self.with(|fake| {
            fake.has_one_part = true;
            fake.buffered = chunks.iter().map(|chunk| chunk.to_vec()).collect();
        });
        self.request_body(chunks, true)
    }

    pub(crate) fn request_trailers(&self) -> u32 {
        // SAFETY: both objects exist.
        unsafe { envoy_dynamic_module_on_http_filter_request_trailers(self.0.cast(), self.module()) }
    }

    /// The call ends; `None`: without a response, and with null arrays.
    pub(crate) fn call_done(&self, response: Option<FakeResponse<'_>>) {
        let (headers, chunks) = response.unwrap_or_default();
        let headers: Vec<HeaderBytes> = headers
            .iter()
            .map(|(name, value)| HeaderBytes {
                name: RawBytes::of(name.as_bytes()),
                value: RawBytes::of(value),
            })
            .collect();
        let chunks: Vec<RawBytes> = chunks.iter().map(|chunk| RawBytes::of(chunk)).collect();
        let result = u32::from(response.is_none());
        let start = |list: *const HeaderBytes| if response.is_none() { ptr::null() } else { list };
        let first = |list: *const RawBytes| if response.is_none() { ptr::null() } else { list };
        // SAFETY: both objects exist, and the arrays live during the call.
        unsafe {
            envoy_dynamic_module_on_http_filter_http_callout_done(
                self.0.cast(),
                self.module(),
                1,
                result,
                start(headers.as_ptr()),
                headers.len(),
                first(chunks.as_ptr()),
                chunks.len(),
            );
        }
    }

    /// Envoy responds itself.
    pub(crate) fn local_reply(&self, status: &str, details: &[u8]) -> u32 {
        // SAFETY: both objects exist, and the bytes live during the call.
        unsafe {
            let (module, details) = (self.module(), RawBytes::of(details));
            envoy_dynamic_module_on_http_filter_local_reply(self.0.cast(), module, 504, details, false);
        }
        self.response_headers(&[(":status", status.as_bytes()), ("content-length", b"7")], false)
    }

    pub(crate) fn response_headers(&self, headers: &[(&str, &[u8])], is_last: bool) -> u32 {
        let list = headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
        self.with(|fake| fake.maps[2] = list);
        // SAFETY: both objects exist.
        unsafe { envoy_dynamic_module_on_http_filter_response_headers(self.0.cast(), self.module(), is_last) }
    }

    /// Returns what the client gets.
    pub(crate) fn response_body(&self, chunks: &[&[u8]], is_last: bool) -> Vec<u8> {
        self.with(|fake| fake.received[1] = Some(chunks.iter().map(|chunk| chunk.to_vec()).collect()));
        // SAFETY: both objects exist.
        unsafe {
            envoy_dynamic_module_on_http_filter_response_body(self.0.cast(), self.module(), is_last);
        }
        self.with(|fake| fake.received[1].take().unwrap().concat())
    }

    pub(crate) fn response_trailers(&self) -> u32 {
        // SAFETY: both objects exist.
        unsafe { envoy_dynamic_module_on_http_filter_response_trailers(self.0.cast(), self.module()) }
    }

    /// The values of a header.
    pub(crate) fn values(&self, map: usize, name: &str) -> Vec<String> {
        self.with(|fake| {
            let values = fake.maps[map].iter().filter(|(other, _)| other == name.as_bytes());
            values.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
        })
    }

    /// The client leaves, or everything is done.
    pub(crate) fn end(&self) {
        // SAFETY: the object exists until the drop.
        unsafe { end(self.0) };
    }
}

impl Drop for FakeStream {
    fn drop(&mut self) {
        self.end();
        // SAFETY: nothing uses the object any more.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// As Envoy: the end of the stream, and then its destruction.
unsafe fn end(fake: *mut Fake) {
    // SAFETY: the caller promises that the object exists. No reference to it lives during a hook.
    unsafe {
        if !(*fake).is_destroyed {
            let module = (*fake).module;
            envoy_dynamic_module_on_http_filter_stream_complete(fake.cast(), module);
            (*fake).is_destroyed = true;
            (*fake).module = ptr::null();
            envoy_dynamic_module_on_http_filter_destroy(module);
        }
    }
}

fn text(bytes: RawBytes) -> String {
    // SAFETY: the module passes valid bytes.
    String::from_utf8_lossy(unsafe { bytes.as_slice() }).into_owned()
}

/// # Safety
/// `stream` is from [`FakeEnvoy::stream`], and no other reference to it lives.
unsafe fn fake<'a>(stream: *mut c_void) -> &'a mut Fake {
    // SAFETY: the caller promises it.
    let fake: &mut Fake = unsafe { &mut *stream.cast() };
    assert!(!fake.is_destroyed, "a callback of a destroyed stream");
    fake
}

fn pairs(headers: *const HeaderBytes, count: usize) -> Vec<(String, String)> {
    // SAFETY: the module passes a valid array.
    let headers = unsafe { super::slice(headers, count) };
    headers.iter().map(|header| (text(header.name), text(header.value))).collect()
}

/// The callbacks.
mod callbacks {
    use super::*;

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_callback_log(level: u32, message: RawBytes) {
        LOG.lock().unwrap().push((level, text(message)));
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_get_headers_size(
        stream: *mut c_void,
        map: u32,
    ) -> usize {
        unsafe { fake(stream) }.maps[map as usize].len()
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_get_headers(
        stream: *mut c_void,
        map: u32,
        headers: *mut HeaderBytes,
    ) -> bool {
        let list = &unsafe { fake(stream) }.maps[map as usize];
        for (place, (name, value)) in list.iter().enumerate() {
            // Envoy's empty values may have a null pointer.
            let value = if value.is_empty() { RawBytes::NULL } else { RawBytes::of(value) };
            unsafe { headers.add(place).write(HeaderBytes { name: RawBytes::of(name), value }) };
        }
        true
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_get_header(
        stream: *mut c_void,
        map: u32,
        name: RawBytes,
        result: *mut RawBytes,
        index: usize,
        count: *mut usize,
    ) -> bool {
        assert!(count.is_null());
        let name = unsafe { name.as_slice() };
        let list = &unsafe { fake(stream) }.maps[map as usize];
        let value = list.iter().filter(|(other, _)| other == name).nth(index);
        unsafe { result.write(value.map_or(RawBytes::NULL, |(_, value)| RawBytes::of(value))) };
        value.is_some()
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_set_header(
        stream: *mut c_void,
        map: u32,
        name: RawBytes,
        value: RawBytes,
    ) -> bool {
        let name = unsafe { name.as_slice() }.to_vec();
        let list = &mut unsafe { fake(stream) }.maps[map as usize];
        list.retain(|(other, _)| *other != name);
        if !value.start.is_null() {
            list.push((name, unsafe { value.as_slice() }.to_vec()));
        }
        true
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_add_header(
        stream: *mut c_void,
        map: u32,
        name: RawBytes,
        value: RawBytes,
    ) -> bool {
        let pair = unsafe { (name.as_slice().to_vec(), value.as_slice().to_vec()) };
        unsafe { fake(stream) }.maps[map as usize].push(pair);
        true
    }

    fn part(fake: &mut Fake, body: u32) -> Option<&mut Vec<Vec<u8>>> {
        match body {
            0 => fake.received[0].as_mut(),
            1 => Some(&mut fake.buffered),
            2 => fake.received[1].as_mut(),
            _ => None,
        }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_get_body_size(
        stream: *mut c_void,
        body: u32,
    ) -> usize {
        part(unsafe { fake(stream) }, body).map_or(0, |chunks| chunks.iter().map(Vec::len).sum())
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_get_body_chunks_size(
        stream: *mut c_void,
        body: u32,
    ) -> usize {
        part(unsafe { fake(stream) }, body).map_or(0, |chunks| chunks.len())
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_get_body_chunks(
        stream: *mut c_void,
        body: u32,
        chunks: *mut RawBytes,
    ) -> bool {
        let Some(list) = part(unsafe { fake(stream) }, body) else { return false };
        for (place, chunk) in list.iter().enumerate() {
            let chunk = if chunk.is_empty() { RawBytes::NULL } else { RawBytes::of(chunk) };
            unsafe { chunks.add(place).write(chunk) };
        }
        true
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_drain_body(
        stream: *mut c_void,
        body: u32,
        count: usize,
    ) -> bool {
        assert_eq!(count, usize::MAX);
        part(unsafe { fake(stream) }, body).map(Vec::clear).is_some()
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_append_body(
        stream: *mut c_void,
        body: u32,
        data: RawBytes,
    ) -> bool {
        let data = unsafe { data.as_slice() }.to_vec();
        part(unsafe { fake(stream) }, body).map(|chunks| chunks.push(data)).is_some()
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_received_buffered_request_body(
        stream: *mut c_void,
    ) -> bool {
        unsafe { fake(stream) }.has_one_part
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_get_buffer_limit(stream: *mut c_void) -> u64 {
        unsafe { fake(stream) }.limit
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_set_buffer_limit(
        stream: *mut c_void,
        limit: u64,
    ) {
        unsafe { fake(stream) }.limit = limit;
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_send_response(
        stream: *mut c_void,
        status: u32,
        headers: *const HeaderBytes,
        count: usize,
        body: RawBytes,
        details: RawBytes,
    ) {
        let sent =
            Sent::Local { status, headers: pairs(headers, count), body: text(body), details: text(details) };
        let (module, dies) = {
            let fake = unsafe { fake(stream) };
            fake.sent.push(sent);
            (fake.module, fake.dies_when_answered)
        };
        // As Envoy: the module's own response is a local reply, and passes no other hook of the module.
        unsafe { envoy_dynamic_module_on_http_filter_local_reply(stream, module, status, details, false) };
        if dies {
            unsafe { end(stream.cast()) };
        }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_send_response_headers(
        stream: *mut c_void,
        headers: *const HeaderBytes,
        count: usize,
        is_last: bool,
    ) {
        assert!(is_last);
        let headers = pairs(headers, count);
        let bytes =
            |(name, value): &(String, String)| (name.clone().into_bytes(), value.clone().into_bytes());
        let (module, dies) = {
            let fake = unsafe { fake(stream) };
            fake.maps[2] = headers.iter().map(bytes).collect();
            fake.sent.push(Sent::Headers(headers));
            (fake.module, fake.dies_when_answered)
        };
        // Envoy 1.38 runs the hook on such a response, and Envoy 1.40 does not.
        if !module.is_null() {
            let step = unsafe { envoy_dynamic_module_on_http_filter_response_headers(stream, module, true) };
            assert_eq!(step, 0);
        }
        if dies {
            unsafe { end(stream.cast()) };
        }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_reset_stream(
        stream: *mut c_void,
        _reason: u32,
        _details: RawBytes,
    ) {
        unsafe { fake(stream) }.sent.push(Sent::Reset);
        unsafe { end(stream.cast()) };
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_clear_route_cache(stream: *mut c_void) {
        unsafe { fake(stream) }.cleared_routes += 1;
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_continue_decoding(stream: *mut c_void) {
        let dies = {
            let fake = unsafe { fake(stream) };
            fake.continued += 1;
            fake.dies_when_answered
        };
        if dies {
            unsafe { end(stream.cast()) };
        }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        stream: *mut c_void,
        attribute: u32,
        result: *mut RawBytes,
    ) -> bool {
        let value = unsafe { fake(stream) }.attributes.get(&attribute);
        unsafe { result.write(value.map_or(RawBytes::NULL, |value| RawBytes::of(value))) };
        value.is_some()
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_get_filter_state_bytes(
        stream: *mut c_void,
        key: RawBytes,
        result: *mut RawBytes,
    ) -> bool {
        let value = unsafe { fake(stream) }.state.get(&text(key));
        unsafe { result.write(value.map_or(RawBytes::NULL, |value| RawBytes::of(value))) };
        value.is_some()
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
        stream: *mut c_void,
        key: RawBytes,
        value: RawBytes,
    ) -> bool {
        let old = unsafe { fake(stream) }.state.insert(text(key), unsafe { value.as_slice() }.to_vec());
        assert_eq!(old, None, "Envoy counts a second value as a bug");
        true
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_http_callout(
        stream: *mut c_void,
        id: *mut u64,
        cluster: RawBytes,
        headers: *const HeaderBytes,
        count: usize,
        _body: RawBytes,
        timeout_ms: u64,
    ) -> u32 {
        let fake = unsafe { fake(stream) };
        if fake.starts_no_call {
            return 2;
        }
        let mut call = vec![(text(cluster), timeout_ms.to_string())];
        call.extend(pairs(headers, count));
        let call = call.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes()));
        fake.calls.push(call.collect());
        unsafe { id.write(1) };
        0
    }

    /// As Envoy: a metric without labels exists at once.
    unsafe fn define(
        config: *mut c_void,
        name: RawBytes,
        labels: *const RawBytes,
        count: usize,
        id: *mut usize,
    ) -> u32 {
        let config: &mut FakeConfig = unsafe { &mut *config.cast() };
        if config.is_frozen {
            return 3;
        }
        let labels: Vec<String> =
            unsafe { super::super::slice(labels, count) }.iter().map(|label| text(*label)).collect();
        if labels.is_empty() {
            config.values.insert(text(name), 0);
        }
        config.defined.push((text(name), labels));
        unsafe { id.write(config.defined.len() - 1) };
        0
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: *mut c_void,
        name: RawBytes,
        labels: *const RawBytes,
        count: usize,
        id: *mut usize,
    ) -> u32 {
        unsafe { define(config, name, labels, count, id) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_config_define_gauge(
        config: *mut c_void,
        name: RawBytes,
        labels: *const RawBytes,
        count: usize,
        id: *mut usize,
    ) -> u32 {
        unsafe { define(config, name, labels, count, id) }
    }

    unsafe fn value<'a>(
        stream: *mut c_void,
        id: usize,
        values: *const RawBytes,
        count: usize,
    ) -> Option<&'a mut u64> {
        let config = unsafe { &mut *fake(stream).config };
        let values = unsafe { super::super::slice(values, count) };
        let (name, labels) = config.defined.get(id)?;
        if labels.len() != values.len() {
            return None;
        }
        let mut full = name.clone();
        for (label, value) in labels.iter().zip(values) {
            full.push_str(&format!(".{label}={}", text(*value)));
        }
        Some(config.values.entry(full).or_default())
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_increment_counter(
        stream: *mut c_void,
        id: usize,
        labels: *const RawBytes,
        count: usize,
        by: u64,
    ) -> u32 {
        unsafe { value(stream, id, labels, count) }.map_or(2, |value| {
            *value += by;
            0
        })
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_set_gauge(
        stream: *mut c_void,
        id: usize,
        labels: *const RawBytes,
        count: usize,
        to: u64,
    ) -> u32 {
        unsafe { value(stream, id, labels, count) }.map_or(2, |value| {
            *value = to;
            0
        })
    }
}
