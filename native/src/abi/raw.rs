//! Types and callbacks of the interface, as Envoy 1.38 to 1.40 have them. Callbacks that one of these versions lacks must not
//! stand here: the module would not load there.

use std::ffi::{CStr, c_char, c_void};

/// RawBytes of the module or of Envoy. The pointer may be null where the length is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawBytes {
    pub(super) start: *const u8,
    pub(super) length: usize,
}

/// The name and the value of a header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderBytes {
    pub(super) name: RawBytes,
    pub(super) value: RawBytes,
}

/// Envoy's object of a filter configuration.
pub(super) type ConfigPtr = *mut c_void;
/// Envoy's object of a stream.
pub(super) type StreamPtr = *mut c_void;

/// The result of a callback that may fail: of metrics and of callouts.
pub(super) const SUCCESS: u32 = 0;

/// Sets a gauge while a configuration loads. Envoy 1.38 does not have this callback.
pub(super) type ConfigSetGauge = unsafe extern "C" fn(ConfigPtr, usize, *const RawBytes, usize, u64) -> u32;
/// The name of [`ConfigSetGauge`].
pub(super) const CONFIG_SET_GAUGE: &CStr = c"envoy_dynamic_module_callback_http_filter_config_set_gauge";

unsafe extern "C" {
    pub(super) fn envoy_dynamic_module_callback_log(level: u32, message: RawBytes);

    pub(super) fn envoy_dynamic_module_callback_http_get_headers_size(stream: StreamPtr, map: u32) -> usize;
    pub(super) fn envoy_dynamic_module_callback_http_get_headers(
        stream: StreamPtr,
        map: u32,
        headers: *mut HeaderBytes,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_get_header(
        stream: StreamPtr,
        map: u32,
        name: RawBytes,
        value: *mut RawBytes,
        index: usize,
        count: *mut usize,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_set_header(
        stream: StreamPtr,
        map: u32,
        name: RawBytes,
        value: RawBytes,
    ) -> bool;

    pub(super) fn envoy_dynamic_module_callback_http_add_header(
        stream: StreamPtr,
        map: u32,
        name: RawBytes,
        value: RawBytes,
    ) -> bool;

    pub(super) fn envoy_dynamic_module_callback_http_get_body_size(stream: StreamPtr, body: u32) -> usize;
    pub(super) fn envoy_dynamic_module_callback_http_get_body_chunks_size(
        stream: StreamPtr,
        body: u32,
    ) -> usize;
    pub(super) fn envoy_dynamic_module_callback_http_get_body_chunks(
        stream: StreamPtr,
        body: u32,
        chunks: *mut RawBytes,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_drain_body(
        stream: StreamPtr,
        body: u32,
        count: usize,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_append_body(
        stream: StreamPtr,
        body: u32,
        data: RawBytes,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_received_buffered_request_body(
        stream: StreamPtr,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_get_buffer_limit(stream: StreamPtr) -> u64;
    pub(super) fn envoy_dynamic_module_callback_http_set_buffer_limit(stream: StreamPtr, limit: u64);

    pub(super) fn envoy_dynamic_module_callback_http_send_response(
        stream: StreamPtr,
        status: u32,
        headers: *const HeaderBytes,
        header_count: usize,
        body: RawBytes,
        details: RawBytes,
    );
    pub(super) fn envoy_dynamic_module_callback_http_send_response_headers(
        stream: StreamPtr,
        headers: *const HeaderBytes,
        header_count: usize,
        is_last: bool,
    );
    pub(super) fn envoy_dynamic_module_callback_http_filter_reset_stream(
        stream: StreamPtr,
        reason: u32,
        details: RawBytes,
    );
    pub(super) fn envoy_dynamic_module_callback_http_clear_route_cache(stream: StreamPtr);
    pub(super) fn envoy_dynamic_module_callback_http_filter_continue_decoding(stream: StreamPtr);

    pub(super) fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        stream: StreamPtr,
        attribute: u32,
        value: *mut RawBytes,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_get_filter_state_bytes(
        stream: StreamPtr,
        key: RawBytes,
        value: *mut RawBytes,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
        stream: StreamPtr,
        key: RawBytes,
        value: RawBytes,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_filter_http_callout(
        stream: StreamPtr,
        id: *mut u64,
        cluster: RawBytes,
        headers: *const HeaderBytes,
        header_count: usize,
        body: RawBytes,
        timeout_ms: u64,
    ) -> u32;

    pub(super) fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: ConfigPtr,
        name: RawBytes,
        labels: *const RawBytes,
        label_count: usize,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_define_gauge(
        config: ConfigPtr,
        name: RawBytes,
        labels: *const RawBytes,
        label_count: usize,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_increment_counter(
        stream: StreamPtr,
        id: usize,
        labels: *const RawBytes,
        label_count: usize,
        by: u64,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_set_gauge(
        stream: StreamPtr,
        id: usize,
        labels: *const RawBytes,
        label_count: usize,
        value: u64,
    ) -> u32;

    /// Of the C library: the address of a symbol of the process, with a null handle; null if no library has it.
    pub(super) fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}
