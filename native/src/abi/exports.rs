//! The hooks that Envoy looks up by name. It rejects a module without one of them, so the unused ones are here too.

/// Exports the hooks of a [`super::Module`]. Their names and arguments are Envoy's.
macro_rules! export {
    ($module:ty) => {
        const _: () = {
            use $crate::abi::{self, BodyStep, Buffer, Module, Phase, HookStep, ending};
            use std::ffi::{c_char, c_void};

            $crate::abi::exports::hooks! {
                fn envoy_dynamic_module_on_program_init() -> *const c_char {
                    abi::program_init::<$module>()
                }
                fn envoy_dynamic_module_on_http_filter_config_new(
                    config: *mut c_void, _name: Buffer, configuration: Buffer,
                ) -> *const c_void {
                    abi::config_new::<$module>(config, configuration)
                }
                fn envoy_dynamic_module_on_http_filter_config_destroy(module: *const c_void) {
                    abi::config_destroy::<$module>(module);
                }
                fn envoy_dynamic_module_on_http_filter_per_route_config_new(
                    _name: Buffer, _configuration: Buffer,
                ) -> *const c_void {
                    abi::route_config_new::<$module>()
                }
                fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(_route: *const c_void) {}
                fn envoy_dynamic_module_on_http_filter_new(
                    module: *const c_void, _envoy: *mut c_void,
                ) -> *const c_void {
                    abi::stream_new::<$module>(module)
                }
                fn envoy_dynamic_module_on_http_filter_destroy(stream: *const c_void) {
                    abi::stream_destroy::<$module>(stream);
                }
                fn envoy_dynamic_module_on_http_filter_request_headers(
                    envoy: *mut c_void, stream: *const c_void, is_last: bool,
                ) -> u32 {
                    abi::hook::<$module, _>(envoy, stream, (Phase::Request, HookStep::Stop), |stream, envoy| {
                        <$module>::on_request_headers(stream, envoy, ending(is_last))
                    })
                    .status()
                }
                fn envoy_dynamic_module_on_http_filter_request_body(
                    envoy: *mut c_void, stream: *const c_void, is_last: bool,
                ) -> u32 {
                    abi::hook::<$module, _>(envoy, stream, (Phase::Request, BodyStep::Discard), |stream, envoy| {
                        <$module>::on_request_body(stream, envoy, ending(is_last))
                    })
                    .status()
                }
                fn envoy_dynamic_module_on_http_filter_request_trailers(
                    envoy: *mut c_void, stream: *const c_void,
                ) -> u32 {
                    let run = <$module>::on_request_trailers;
                    abi::hook::<$module, _>(envoy, stream, (Phase::Request, HookStep::Stop), run).status()
                }
                fn envoy_dynamic_module_on_http_filter_http_callout_done(
                    envoy: *mut c_void, stream: *const c_void, _call: u64, result: u32,
                    headers: *const abi::HeaderBytes, header_count: usize,
                    chunks: *const abi::RawBytes, chunk_count: usize,
                ) {
                    let (headers, chunks) = ((headers, header_count), (chunks, chunk_count));
                    abi::call_done::<$module>(envoy, stream, result, headers, chunks);
                }
                fn envoy_dynamic_module_on_http_filter_response_headers(
                    envoy: *mut c_void, stream: *const c_void, is_last: bool,
                ) -> u32 {
                    let failed = (Phase::ResponseHeaders, HookStep::Stop);
                    abi::hook::<$module, _>(envoy, stream, failed, |stream, envoy| {
                        <$module>::on_response_headers(stream, envoy, ending(is_last))
                    })
                    .status()
                }
                fn envoy_dynamic_module_on_http_filter_response_body(
                    envoy: *mut c_void, stream: *const c_void, _is_last: bool,
                ) -> u32 {
                    let failed = (Phase::ResponseBody, BodyStep::Discard);
                    abi::hook::<$module, _>(envoy, stream, failed, |stream, envoy| {
                        <$module>::on_response_body(stream, envoy);
                        BodyStep::Continue
                    })
                    .status()
                }
                fn envoy_dynamic_module_on_http_filter_response_trailers(
                    envoy: *mut c_void, stream: *const c_void,
                ) -> u32 {
                    let failed = (Phase::ResponseBody, HookStep::Stop);
                    abi::hook::<$module, _>(envoy, stream, failed, |stream, envoy| {
                        <$module>::on_response_trailers(stream, envoy);
                        HookStep::Continue
                    })
                    .status()
                }
                fn envoy_dynamic_module_on_http_filter_stream_complete(
                    envoy: *mut c_void, stream: *const c_void,
                ) {
                    let run = <$module>::on_complete;
                    abi::hook::<$module, _>(envoy, stream, (Phase::Complete, ()), run);
                }
                fn envoy_dynamic_module_on_http_filter_local_reply(
                    envoy: *mut c_void, stream: *const c_void, _status: u32, details: Buffer, _resets: bool,
                ) -> u32 {
                    abi::local_reply::<$module>(envoy, stream, details);
                    HookStep::Continue.status()
                }
                fn envoy_dynamic_module_on_http_filter_scheduled(
                    _envoy: *mut c_void, _stream: *const c_void, _event: u64,
                ) {}
                fn envoy_dynamic_module_on_http_filter_http_stream_headers(
                    _envoy: *mut c_void, _stream: *const c_void, _call: u64,
                    _headers: *const abi::HeaderBytes, _count: usize, _is_last: bool,
                ) {}
                fn envoy_dynamic_module_on_http_filter_http_stream_data(
                    _envoy: *mut c_void, _stream: *const c_void, _call: u64,
                    _chunks: *const abi::RawBytes, _count: usize, _is_last: bool,
                ) {}
                fn envoy_dynamic_module_on_http_filter_http_stream_trailers(
                    _envoy: *mut c_void, _stream: *const c_void, _call: u64,
                    _trailers: *const abi::HeaderBytes, _count: usize,
                ) {}
                fn envoy_dynamic_module_on_http_filter_http_stream_complete(
                    _envoy: *mut c_void, _stream: *const c_void, _call: u64,
                ) {}
                fn envoy_dynamic_module_on_http_filter_http_stream_reset(
                    _envoy: *mut c_void, _stream: *const c_void, _call: u64, _reason: u32,
                ) {}
                fn envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(
                    _envoy: *mut c_void, _stream: *const c_void,
                ) {}
                fn envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(
                    _envoy: *mut c_void, _stream: *const c_void,
                ) {}
            }
        };
    };
}

/// Writes each function with the attributes of a hook.
macro_rules! hooks {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => {
        $(
            #[allow(unsafe_code, reason = "the text is in the module `abi`")]
            // SAFETY: the name is Envoy's, and no other module in the process exports it to this one.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
                // SAFETY: Envoy passes the arguments that its interface documents.
                #[allow(unused_unsafe, reason = "some hooks do nothing")]
                unsafe { $body }
            }
        )*
    };
}

pub(crate) use {export, hooks};
