//! Envoy's side of a stream and of a configuration, as safe methods.

use super::raw::{self, HeaderBytes, RawBytes};
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::time::Duration;

/// A set of headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderMap {
    Request,
    RequestTrailers,
    Response,
    ResponseTrailers,
}

/// A part of a body. Envoy has the received part only in the hook that gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyPart {
    ReceivedRequest,
    BufferedRequest,
    ReceivedResponse,
}

/// An attribute of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    SourceAddress,
    TlsVersion,
}

/// The level of a line in Envoy's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Warning,
    Error,
}

/// A counter or gauge that the configuration defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MetricId(usize);

/// A header of a response or of a call.
pub(crate) type HeaderPair<'a> = (&'a str, &'a str);

/// Requests rarely have more headers. Their list then needs no allocation.
const USUAL_HEADERS: usize = 64;
/// The bodies of most deliveries have fewer chunks.
const USUAL_CHUNKS: usize = 8;

/// Writes a line to Envoy's log. Any thread may call it.
pub(crate) fn log(level: LogLevel, line: &str) {
    let level = match level {
        LogLevel::Warning => 3,
        LogLevel::Error => 4,
    };
    // SAFETY: Envoy copies the line before it returns.
    unsafe { raw::envoy_dynamic_module_callback_log(level, RawBytes::of(line.as_bytes())) }
}

/// Envoy's object of a configuration, while the configuration loads.
#[derive(Debug)]
pub(crate) struct EnvoyConfig<'load> {
    config: raw::ConfigPtr,
    load: PhantomData<&'load mut ()>,
}

impl EnvoyConfig<'_> {
    /// # Safety
    /// `config` is valid until the hook that got it returns, and so is this object.
    pub(super) unsafe fn new(config: raw::ConfigPtr) -> Self {
        Self { config, load: PhantomData }
    }

    /// Defines a counter; `None` if Envoy refuses it.
    pub(crate) fn define_counter(&mut self, name: &str, labels: &[&str]) -> Option<MetricId> {
        let labels: Vec<RawBytes> = labels.iter().map(|label| RawBytes::of(label.as_bytes())).collect();
        let mut id = 0;
        // SAFETY: the object is valid during the load, Envoy copies the names, and writes one number to `id`.
        let result = unsafe {
            raw::envoy_dynamic_module_callback_http_filter_config_define_counter(
                self.config,
                RawBytes::of(name.as_bytes()),
                labels.as_ptr(),
                labels.len(),
                &raw mut id,
            )
        };
        (result == raw::SUCCESS).then_some(MetricId(id))
    }

    /// Defines a gauge without labels; `None` if Envoy refuses it.
    pub(crate) fn define_gauge(&mut self, name: &str) -> Option<MetricId> {
        let mut id = 0;
        // SAFETY: the object is valid during the load, Envoy copies the name, and writes one number to `id`.
        let result = unsafe {
            raw::envoy_dynamic_module_callback_http_filter_config_define_gauge(
                self.config,
                RawBytes::of(name.as_bytes()),
                ptr::null(),
                0,
                &raw mut id,
            )
        };
        (result == raw::SUCCESS).then_some(MetricId(id))
    }

    /// Sets a gauge without labels; `false` if this Envoy lets only a stream set it.
    pub(crate) fn set_gauge(&mut self, gauge: MetricId, value: u64) -> bool {
        config_set_gauge().is_some_and(|set| {
            // SAFETY: the object is valid during the load.
            let result = unsafe { set(self.config, gauge.0, ptr::null(), 0, value) };
            result == raw::SUCCESS
        })
    }
}

/// Envoy's callback that sets a gauge while a configuration loads; `None` in Envoy 1.38.
pub(super) fn config_set_gauge() -> Option<raw::ConfigSetGauge> {
    // SAFETY: a null handle stands for the whole process, and the name ends with a zero.
    let address = unsafe { raw::dlsym(ptr::null_mut(), raw::CONFIG_SET_GAUGE.as_ptr()) };
    // SAFETY: a callback of this name has this type in each version that has it. A null pointer becomes `None`.
    unsafe { mem::transmute::<*mut std::ffi::c_void, Option<raw::ConfigSetGauge>>(address) }
}

/// Envoy's object of a stream, during one hook. A method that changes something borrows it exclusively: the bytes that other
/// methods return are valid until then.
#[derive(Debug)]
pub(crate) struct EnvoyStream<'hook> {
    stream: raw::StreamPtr,
    hook: PhantomData<&'hook mut ()>,
}

impl EnvoyStream<'_> {
    /// # Safety
    /// `stream` is valid until the hook that got it returns, and so is this object.
    pub(super) unsafe fn new(stream: raw::StreamPtr) -> Self {
        Self { stream, hook: PhantomData }
    }

    /// Passes each header to `visit`, in Envoy's order.
    pub(crate) fn each_header(&self, map: HeaderMap, mut visit: impl FnMut(&[u8], &[u8])) {
        // SAFETY: the stream is valid during the hook.
        let size = unsafe { raw::envoy_dynamic_module_callback_http_get_headers_size(self.stream, map.id()) };
        let mut few = [const { MaybeUninit::<HeaderBytes>::uninit() }; USUAL_HEADERS];
        let mut many = Vec::new();
        let list = match few.get_mut(..size) {
            Some(list) => list,
            None => {
                many.resize_with(size, MaybeUninit::uninit);
                many.as_mut_slice()
            }
        };
        // SAFETY: `list` has room for `size` headers, and nothing has changed their number since.
        let is_filled = unsafe {
            raw::envoy_dynamic_module_callback_http_get_headers(
                self.stream,
                map.id(),
                list.as_mut_ptr().cast(),
            )
        };
        if !is_filled {
            return;
        }
        for header in list {
            // SAFETY: Envoy has written each header of the list.
            let header = unsafe { header.assume_init_ref() };
            // SAFETY: `self` is borrowed, so no header changes while the name is in use.
            let name = unsafe { header.name.as_slice() };
            // SAFETY: as for the name.
            let value = unsafe { header.value.as_slice() };
            visit(name, value);
        }
    }

    /// The number of headers.
    pub(crate) fn header_count(&self, map: HeaderMap) -> usize {
        // SAFETY: the stream is valid during the hook.
        unsafe { raw::envoy_dynamic_module_callback_http_get_headers_size(self.stream, map.id()) }
    }

    /// The first value of a header.
    pub(crate) fn header(&self, map: HeaderMap, name: &str) -> Option<&[u8]> {
        let mut value = RawBytes::NULL;
        // SAFETY: the stream is valid during the hook, the count is optional, and Envoy writes one value.
        let is_present = unsafe {
            raw::envoy_dynamic_module_callback_http_get_header(
                self.stream,
                map.id(),
                RawBytes::of(name.as_bytes()),
                &raw mut value,
                0,
                ptr::null_mut(),
            )
        };
        // SAFETY: `self` is borrowed, so no header changes while the value is in use.
        (is_present && !value.start.is_null()).then(|| unsafe { value.as_slice() })
    }

    /// Sets a header to this one value.
    pub(crate) fn set_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) {
        self.change_header(map, name, RawBytes::of(value));
    }

    /// Adds a header that the map does not have. That costs half of setting it.
    pub(crate) fn add_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) {
        // SAFETY: the stream is valid during the hook, and Envoy copies the name and the value.
        unsafe {
            raw::envoy_dynamic_module_callback_http_add_header(
                self.stream,
                map.id(),
                RawBytes::of(name),
                RawBytes::of(value),
            );
        }
    }

    /// Removes every value of a header.
    pub(crate) fn remove_header(&mut self, map: HeaderMap, name: &[u8]) {
        self.change_header(map, name, RawBytes::NULL);
    }

    fn change_header(&mut self, map: HeaderMap, name: &[u8], value: RawBytes) {
        // SAFETY: the stream is valid during the hook, and Envoy copies the name and the value.
        unsafe {
            raw::envoy_dynamic_module_callback_http_set_header(
                self.stream,
                map.id(),
                RawBytes::of(name),
                value,
            );
        }
    }

    /// The size of a part of a body.
    pub(crate) fn body_size(&self, part: BodyPart) -> usize {
        // SAFETY: the stream is valid during the hook.
        unsafe { raw::envoy_dynamic_module_callback_http_get_body_size(self.stream, part.id()) }
    }

    /// Passes each chunk of a part of a body to `visit`, in order.
    pub(crate) fn each_chunk(&self, part: BodyPart, mut visit: impl FnMut(&[u8])) {
        // SAFETY: the stream is valid during the hook.
        let size =
            unsafe { raw::envoy_dynamic_module_callback_http_get_body_chunks_size(self.stream, part.id()) };
        let mut few = [RawBytes::NULL; USUAL_CHUNKS];
        let mut many = Vec::new();
        let chunks = match few.get_mut(..size) {
            Some(chunks) => chunks,
            None => {
                many.resize(size, RawBytes::NULL);
                many.as_mut_slice()
            }
        };
        // SAFETY: `chunks` has room for `size` chunks, and nothing has changed their number since.
        let is_filled = unsafe {
            raw::envoy_dynamic_module_callback_http_get_body_chunks(
                self.stream,
                part.id(),
                chunks.as_mut_ptr(),
            )
        };
        if is_filled {
            for chunk in chunks {
                // SAFETY: `self` is borrowed, so the body does not change while the chunk is in use.
                visit(unsafe { chunk.as_slice() });
            }
        }
    }

    /// Whether the received part is the buffered part: another filter has buffered the body before.
    pub(crate) fn has_received_buffered_body(&self) -> bool {
        // SAFETY: the stream is valid during the hook.
        unsafe { raw::envoy_dynamic_module_callback_http_received_buffered_request_body(self.stream) }
    }

    /// Replaces the received part of the response's body.
    pub(crate) fn replace_response_part(&mut self, body: &[u8]) {
        let part = BodyPart::ReceivedResponse.id();
        // SAFETY: the stream is valid during the hook. Envoy drains at most what there is.
        unsafe { raw::envoy_dynamic_module_callback_http_drain_body(self.stream, part, usize::MAX) };
        // SAFETY: the stream is valid during the hook, and Envoy copies the body.
        unsafe { raw::envoy_dynamic_module_callback_http_append_body(self.stream, part, RawBytes::of(body)) };
    }

    /// Lets Envoy buffer this many bytes and the part that goes over them: else Envoy responds with 413 before the module
    /// decides. It never lowers the limit, which other filters may need. 0 is no limit.
    pub(crate) fn raise_buffer_limit(&mut self, bytes: usize) {
        // Envoy reads about the limit at once, and at most a slice more.
        const SLICE: u64 = 65_536;
        // SAFETY: the stream is valid during the hook.
        let limit = unsafe { raw::envoy_dynamic_module_callback_http_get_buffer_limit(self.stream) };
        if limit != 0 {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(limit).saturating_add(SLICE);
            // SAFETY: the stream is valid during the hook.
            unsafe { raw::envoy_dynamic_module_callback_http_set_buffer_limit(self.stream, bytes) };
        }
    }

    /// An attribute; `None` where the stream does not have it.
    pub(crate) fn attribute(&self, attribute: Attribute) -> Option<&[u8]> {
        let mut value = RawBytes::NULL;
        // SAFETY: the stream is valid during the hook, and Envoy writes one value.
        let is_present = unsafe {
            raw::envoy_dynamic_module_callback_http_filter_get_attribute_string(
                self.stream,
                attribute.id(),
                &raw mut value,
            )
        };
        // SAFETY: `self` is borrowed, so the stream does not change while the value is in use.
        is_present.then(|| unsafe { value.as_slice() })
    }

    /// The bytes of a filter state; `None` where no filter has set it.
    pub(crate) fn filter_state(&self, key: &str) -> Option<&[u8]> {
        let mut value = RawBytes::NULL;
        // SAFETY: the stream is valid during the hook, and Envoy writes one value.
        let is_present = unsafe {
            raw::envoy_dynamic_module_callback_http_get_filter_state_bytes(
                self.stream,
                RawBytes::of(key.as_bytes()),
                &raw mut value,
            )
        };
        // SAFETY: `self` is borrowed, so the stream does not change while the value is in use.
        is_present.then(|| unsafe { value.as_slice() })
    }

    /// Sets a filter state. Envoy accepts only the first value of a key.
    pub(crate) fn set_filter_state(&mut self, key: &str, value: &str) {
        // SAFETY: the stream is valid during the hook, and Envoy copies the key and the value.
        unsafe {
            raw::envoy_dynamic_module_callback_http_set_filter_state_bytes(
                self.stream,
                RawBytes::of(key.as_bytes()),
                RawBytes::of(value.as_bytes()),
            );
        }
    }

    /// Adds one to a counter.
    pub(crate) fn count(&mut self, counter: MetricId, labels: &[&str]) {
        let labels: Vec<RawBytes> = labels.iter().map(|label| RawBytes::of(label.as_bytes())).collect();
        // SAFETY: the stream is valid during the hook, and Envoy copies the labels.
        unsafe {
            raw::envoy_dynamic_module_callback_http_filter_increment_counter(
                self.stream,
                counter.0,
                labels.as_ptr(),
                labels.len(),
                1,
            );
        }
    }

    /// Sets a gauge without labels.
    pub(crate) fn set_gauge(&mut self, gauge: MetricId, value: u64) {
        // SAFETY: the stream is valid during the hook.
        unsafe {
            raw::envoy_dynamic_module_callback_http_filter_set_gauge(
                self.stream,
                gauge.0,
                ptr::null(),
                0,
                value,
            );
        }
    }

    /// Starts a call without a body; `false` if Envoy starts none.
    pub(crate) fn call(&mut self, cluster: &str, headers: &[HeaderPair<'_>], timeout: Duration) -> bool {
        let headers = header_list(headers);
        let mut id = 0;
        // SAFETY: the stream is valid during the hook. Envoy copies the cluster and the headers, and writes one number.
        let result = unsafe {
            raw::envoy_dynamic_module_callback_http_filter_http_callout(
                self.stream,
                &raw mut id,
                RawBytes::of(cluster.as_bytes()),
                headers.as_ptr(),
                headers.len(),
                RawBytes::NULL,
                u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            )
        };
        result == raw::SUCCESS
    }

    /// Lets Envoy select the route again, by the headers of now.
    pub(crate) fn clear_route(&mut self) {
        // SAFETY: the stream is valid during the hook.
        unsafe { raw::envoy_dynamic_module_callback_http_clear_route_cache(self.stream) }
    }

    /// Responds with headers alone to a request without a response so far. It is no local reply of Envoy. Envoy may run other
    /// hooks of this stream meanwhile, and may end the stream. The pseudo header `:status` is one of the headers.
    pub(crate) fn respond(self, headers: &[HeaderPair<'_>]) {
        let headers = header_list(headers);
        // SAFETY: the stream is valid during the hook, and Envoy copies the headers.
        unsafe {
            raw::envoy_dynamic_module_callback_http_send_response_headers(
                self.stream,
                headers.as_ptr(),
                headers.len(),
                true,
            );
        }
    }

    /// Responds by a local reply of Envoy, with or without a response so far. Envoy runs no hook of this stream on it, and may end
    /// the stream. `details` is the response code's detail in the access log.
    pub(crate) fn respond_locally(self, status: u16, headers: &[HeaderPair<'_>], body: &[u8], details: &str) {
        let headers = header_list(headers);
        // SAFETY: the stream is valid during the hook, and Envoy copies the headers, the body and the details.
        unsafe {
            raw::envoy_dynamic_module_callback_http_send_response(
                self.stream,
                u32::from(status),
                headers.as_ptr(),
                headers.len(),
                RawBytes::of(body),
                RawBytes::of(details.as_bytes()),
            );
        }
    }

    /// Ends the stream without a response, or in the middle of one.
    pub(crate) fn reset(self) {
        const LOCAL_RESET: u32 = 0;
        // SAFETY: the stream is valid during the hook.
        unsafe {
            raw::envoy_dynamic_module_callback_http_filter_reset_stream(
                self.stream,
                LOCAL_RESET,
                RawBytes::NULL,
            );
        }
    }

    /// Continues a request that waits. Envoy may run further hooks of this stream meanwhile, and may end it.
    pub(crate) fn continue_request(self) {
        // SAFETY: the stream is valid during the hook.
        unsafe { raw::envoy_dynamic_module_callback_http_filter_continue_decoding(self.stream) }
    }
}

/// A response to a call, while its hook runs.
#[derive(Debug)]
pub(crate) struct CallResponse<'hook> {
    headers: &'hook [HeaderBytes],
    chunks: &'hook [RawBytes],
}

impl<'hook> CallResponse<'hook> {
    /// # Safety
    /// All bytes are valid for `'hook`.
    pub(super) unsafe fn new(headers: &'hook [HeaderBytes], chunks: &'hook [RawBytes]) -> Self {
        Self { headers, chunks }
    }

    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&'hook [u8]> {
        self.headers.iter().find_map(|header| {
            // SAFETY: `new` demands valid bytes.
            let other = unsafe { header.name.as_slice() };
            // SAFETY: as for the name.
            (other == name.as_bytes()).then(|| unsafe { header.value.as_slice() })
        })
    }

    /// The first `max` bytes of the body.
    pub(crate) fn body(&self, max: usize) -> Vec<u8> {
        let mut body = Vec::new();
        for chunk in self.chunks {
            // SAFETY: `new` demands valid bytes.
            let chunk = unsafe { chunk.as_slice() };
            let rest = max.saturating_sub(body.len());
            body.extend_from_slice(chunk.get(..rest).unwrap_or(chunk));
        }
        body
    }
}

impl RawBytes {
    pub(super) const NULL: Self = Self { start: ptr::null(), length: 0 };

    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr(), length: bytes.len() }
    }

    /// # Safety
    /// The bytes are valid and do not change during `'a`, or there are none.
    pub(super) unsafe fn as_slice<'a>(self) -> &'a [u8] {
        // SAFETY: the caller promises it.
        unsafe { super::slice(self.start, self.length) }
    }
}

impl HeaderMap {
    fn id(self) -> u32 {
        match self {
            HeaderMap::Request => 0,
            HeaderMap::RequestTrailers => 1,
            HeaderMap::Response => 2,
            HeaderMap::ResponseTrailers => 3,
        }
    }
}

impl BodyPart {
    fn id(self) -> u32 {
        match self {
            BodyPart::ReceivedRequest => 0,
            BodyPart::BufferedRequest => 1,
            BodyPart::ReceivedResponse => 2,
        }
    }
}

impl Attribute {
    fn id(self) -> u32 {
        match self {
            Attribute::SourceAddress => 24,
            Attribute::TlsVersion => 31,
        }
    }
}

fn header_list(headers: &[HeaderPair<'_>]) -> Vec<HeaderBytes> {
    let bytes = |(name, value): &HeaderPair<'_>| HeaderBytes {
        name: RawBytes::of(name.as_bytes()),
        value: RawBytes::of(value.as_bytes()),
    };
    headers.iter().map(bytes).collect()
}
