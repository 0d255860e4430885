//! A Proxy-Wasm filter that does nothing. It shows the cost of the SDK and the host.

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(EmptyRootContext));
}}

struct EmptyRootContext;

impl Context for EmptyRootContext {}

impl RootContext for EmptyRootContext {
    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(EmptyHttpContext))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct EmptyHttpContext;

impl Context for EmptyHttpContext {}

impl HttpContext for EmptyHttpContext {}
